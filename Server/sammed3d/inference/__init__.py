"""From prompts to masks: what the network sees, the way back, sessions."""
