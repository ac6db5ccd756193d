"""An XML file's elements, or what is wrong with the file; entities and document types are refused."""

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from punctum.data.errors import DataError

DEEPEST = 64


def read_xml(source: Path) -> Element:
    """The root element of an XML file.

    A document type is refused: entities, which could blow up to any size or name other files, stand there alone.

    Raises:
        DataError: the file cannot be read, is not XML, has a document type, or is nested too deeply.
    """
    try:
        return parse_xml(source.read_bytes())
    except OSError as error:
        raise DataError([f"{source}: cannot be read: {error.strerror or error}"]) from None
    except ValueError as error:
        raise DataError([f"{source.name}: not XML that can be read: {error}"]) from None


def parse_xml(content: bytes) -> Element:
    """The root element of XML text.

    Raises:
        ValueError: see `read_xml`.
    Example:
        >>> parse_xml(b"<a><b c='1'/></a>")[0].attrib
        {'c': '1'}
        >>> parse_xml(b"<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>")
        Traceback (most recent call last):
            ...
        ValueError: it has a document type (DOCTYPE), which may hold entities: delete that part
    """
    builder, parser = TreeBuilder(), expat.ParserCreate()
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise ValueError(f"elements are nested more than {DEEPEST} deep")
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def refuse(*_: object) -> None:
        raise ValueError("it has a document type (DOCTYPE), which may hold entities: delete that part")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError) as error:
        raise ValueError(str(error)) from None
    return builder.close()
