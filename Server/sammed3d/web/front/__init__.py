"""The page for several users: a process for each, behind one address."""
