"""Every message that punctum refuses something with, out of its source: docs/errors.md.

python docs/list_errors.py
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE, PAGE = ROOT / "src" / "punctum", ROOT / "docs" / "errors.md"
REFUSALS = {"ValueError", "OSError", "FileNotFoundError", "ImportError", "ModuleNotFoundError", "ConnectionError"}
REFUSALS |= {"DataError", "ImageError", "RequestError"}
HEAD = """# Every message

Made from the source by `python docs/list_errors.py`; a test says when it is out of date. What stands in braces is
filled in: a file, a row, a value. What to do about the common ones: [troubleshooting](troubleshooting.md).
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page's text."""
    parts = [HEAD]
    for path in sorted(SOURCE.rglob("*.py")):
        found = list(dict.fromkeys(messages(ast.parse(path.read_text(encoding="utf-8")))))
        if found:
            parts.append(
                f"\n## {path.relative_to(SOURCE)}\n\n" + "\n".join(f"- {_code(text)}" for text in found) + "\n"
            )
    return "".join(parts)


def messages(tree: ast.AST) -> Iterator[str]:
    """What is raised, and what readers gather as mistakes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and _name(node.exc.func) in REFUSALS:
            arguments = node.exc.args
        elif (
            isinstance(node, ast.Call)
            and _name(node.func) in ("append", "wrong")
            and "mistakes" in ast.dump(node.func)
        ):
            arguments = node.args
        else:
            continue
        for argument in arguments:
            yield from texts(argument)


def texts(node: ast.AST) -> Iterator[str]:
    """The templates in an argument: a text, or a list of them."""
    if isinstance(node, (ast.List, ast.Tuple)):
        for item in node.elts:
            yield from texts(item)
    elif isinstance(node, ast.ListComp):
        yield from texts(node.elt)
    elif isinstance(node, (ast.JoinedStr, ast.Constant, ast.BinOp)) and len(text := _text(node)) > 12:
        yield text


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    return "{" + _short(node) + "}" if isinstance(node, ast.FormattedValue) else ""


def _short(node: ast.FormattedValue) -> str:
    """The name of what is filled in; dots where it is more than a name."""
    source = ast.unparse(node.value)
    return source if source.replace(".", "").replace("_", "").isalnum() else "..."


def _name(function: ast.AST) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    space = " " if fence == "``" else ""
    return f"{fence}{space}{' '.join(text.split())}{space}{fence}"


if __name__ == "__main__":
    main()
