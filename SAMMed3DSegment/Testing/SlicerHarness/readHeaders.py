"""Read what Python can reach of Qt classes in their C++ headers: properties, methods, signals. Names alone, no code.

PythonQt gives Python the properties, the public slots and what is marked Q_INVOKABLE, of a class and of its bases; a
public method without a mark cannot be called. Classes named ...PythonQtDecorators add methods to others.
"""

from __future__ import annotations

import re
from pathlib import Path

CLASS = re.compile(r"\bclass\s+(?:[A-Z][A-Z0-9_a-z]*_EXPORT\s+)?(\w+)\s*(?:final\s*)?:\s*([^;{]*)\{")
ACCESS = re.compile(r"\s*(public|protected|private|signals|Q_SIGNALS)\s*(slots|Q_SLOTS)?\s*:(?!:)")
PROPERTY = re.compile(r"Q_PROPERTY\s*\((.*?[\s*&])(\w+)\s+((?:READ|MEMBER)\b.*)\)", re.S)
METHOD = re.compile(r"([\w:<>,*&\s]*?[\s*&>])?(~?\w+)\s*\((.*)\)\s*(?:const|override|final|noexcept|=\s*0|\s)*$", re.S)
LITERAL_OR_COMMENT = re.compile(r"""(["'])(?:\\.|(?!\1)[^\\\n])*\1|//[^\n]*|/\*.*?\*/""", re.S)
NUMBER = {"const", "unsigned", "signed", "long", "short"}
"""Words that are only a part of a type, before its last."""
ORIGIN = re.compile(r"\A// (\S+) (\S+\.h) ([0-9a-f]{7,40})\n")


def readFolder(folder: Path) -> dict:
    """Return the classes of all headers in a folder: name to what Python can reach.

    The first line of a header says where it was published: `// REPOSITORY PATH COMMIT`. Where a class is there in
    several versions, what all of them have is kept.

    Raises:
        ValueError: there is no header, one does not say where it is from, or one is not understood.
    """
    found: dict = {}
    for path in sorted(folder.glob("*.h")):
        text = path.read_text(encoding="utf-8")
        origin = ORIGIN.match(text)
        if origin is None:
            raise ValueError(f"{path}: let its first line say where it is from: // REPOSITORY PATH COMMIT")
        for name, reachable in readText(text).items():
            known = {"read": [f"{origin[1]} {origin[2]} {origin[3][:12]}"]} | reachable
            found[name] = _common(found[name], known) if name in found else known
    if not found:
        raise ValueError(f"{folder}: no header (*.h) with a class that has Q_OBJECT")
    for name in [name for name in found if name.endswith("PythonQtDecorators")]:
        _decorate(found, found.pop(name))
    return found


def _common(one: dict, other: dict) -> dict:
    """What two versions of a class have in common."""
    if one["inherits"] != other["inherits"]:
        raise ValueError(f"{other['read'][0]}: other bases than in {one['read'][0]}")
    properties = {name: kind for name, kind in one["properties"].items() if name in other["properties"]}
    return {
        "read": one["read"] + other["read"],
        "inherits": one["inherits"],
        "properties": properties,
        "readOnly": [name for name in properties if name in one["readOnly"] + other["readOnly"]],
        "methods": [each for each in one["methods"] if each in other["methods"]],
        "signals": [each for each in one["signals"] if each in other["signals"]],
    }


def readText(text: str) -> dict:
    """Return the classes of one header that have Q_OBJECT."""
    text = _plain(text)
    found = {}
    for match in CLASS.finditer(text):
        body = _block(text, match.end() - 1)
        if re.search(r"\bQ_OBJECT\b", body):
            bases = [
                re.sub(r"\b(public|protected|private|virtual)\b", "", base).strip() for base in match[2].split(",")
            ]
            found[match[1]] = {"inherits": bases} | _readBody(match[1], body)
    return found


def _plain(text: str) -> str:
    """A header without comments, strings' contents and preprocessor lines; of #if and #else, both are kept."""
    text = LITERAL_OR_COMMENT.sub(lambda match: " " if match[0][0] == "/" else '""', text)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", "", text, flags=re.M)


def _block(text: str, start: int) -> str:
    """What is between a brace and the one that closes it."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[start + 1 : place]
    raise ValueError(f"a brace is not closed: {text[start : start + 60]!r}")


def _statements(body: str):
    """Yield the parts of a class: an access word with its colon, a declaration, a macro; bodies are left out."""
    start, place = 0, 0
    while place < len(body):
        access = ACCESS.match(body, place) if not body[start:place].strip() else None
        if access:
            yield access[0].strip()
            start = place = access.end()
        elif body[place] in ";{" or (body[place] == ")" and _isMacro(body[start : place + 1])):
            yield body[start : place + (body[place] == ")")].strip()
            place += len(_block(body, place)) + 2 if body[place] == "{" else 1
            start = place
        elif re.fullmatch(r"\s*[A-Z]+_OBJECT\s", body[start : place + 1]):
            start = place = place + 1
        else:
            place += 1


def _isMacro(text: str) -> bool:
    return bool(re.match(r"\s*Q_(?!INVOKABLE)[A-Z]+\w*\s*\(", text)) and text.count("(") == text.count(")")


def _readBody(className: str, body: str) -> dict:
    known: dict = {"properties": {}, "readOnly": [], "methods": [], "signals": []}
    access = "private"
    for statement in _statements(body):
        if ACCESS.fullmatch(statement):
            access = " ".join(
                statement.replace("Q_SLOTS", "slots").replace("Q_SIGNALS", "signals").strip(": \n").split()
            )
        elif statement.startswith("Q_PROPERTY"):
            _readProperty(statement, known)
        else:
            signature = _signature(statement)
            callable_ = access == "public slots" or (access.startswith("public") and "Q_INVOKABLE" in statement)
            if signature is None or signature.split("(")[0].strip("~") == className:
                continue
            if access == "signals":
                known["signals"].append(signature)
            elif callable_ and signature not in known["methods"]:
                known["methods"].append(signature)
    return known


def _readProperty(statement: str, known: dict) -> None:
    declaration = PROPERTY.fullmatch(statement)
    if declaration is None:
        raise ValueError(f"not understood: {statement!r}")
    known["properties"][declaration[2]] = _type(declaration[1])
    if not re.search(r"\b(WRITE|MEMBER)\b", declaration[3]):
        known["readOnly"].append(declaration[2])


def _signature(statement: str) -> str | None:
    """Name and argument types of a method, as Qt normalises them; None for anything else."""
    method = METHOD.fullmatch(statement)
    if method is None or re.match(r"\s*(typedef|enum|using|friend|class|struct|Q_[A-Z]+\w*\s*\()", statement):
        return None
    if "operator" in statement or not (method[1] or "").strip():
        return None
    return f"{method[2]}({','.join(_argument(each) for each in _split(method[3]))})"


def _split(arguments: str) -> list[str]:
    """Arguments, at the commas that are outside of brackets."""
    parts, depth = [""], 0
    for letter in arguments:
        depth += {"(": 1, "<": 1, "[": 1, ")": -1, ">": -1, "]": -1}.get(letter, 0)
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part.strip()]


def _argument(text: str) -> str:
    """The type of an argument, without its name and default."""
    text = text.partition("=")[0].strip()
    array = re.search(r"\[\w*\]$", text)
    text = text[: array.start()] if array else text
    named = re.fullmatch(r"(.*[\s*&>])(\w+)", text, re.S)
    if named and (set(named[1].split()) - NUMBER or named[2] not in NUMBER | {"int", "char", "double"}):
        text = text if set(named[1].split()) <= {"const"} else named[1]
    return _type(text) + (array[0] if array else "")


def _type(text: str) -> str:
    """A type as Qt writes it: a const reference is the type itself."""
    text = " ".join(text.split())
    if text.startswith("const ") and "*" not in text:
        text = text.removeprefix("const ").rstrip("& ")
    return re.sub(r"\s*([*&<>,])\s*", r"\1", text)


def _decorate(found: dict, decorators: dict) -> None:
    """Give decorators' methods to the classes that they name: static_CLASS_METHOD, or by the first argument."""
    read = decorators["read"]
    for method in decorators["methods"]:
        name, arguments = method.rstrip(")").split("(")
        static = re.fullmatch(r"static_(\w+?)_(\w+)", name)
        first, *rest = arguments.split(",")
        owner, name, rest = (static[1], static[2], [first, *rest]) if static else (first.rstrip("*"), name, rest)
        if owner in found:
            found[owner]["methods"].append(f"{name}({','.join(each for each in rest if each)})")
            found[owner]["read"] += [each for each in read if each not in found[owner]["read"]]
