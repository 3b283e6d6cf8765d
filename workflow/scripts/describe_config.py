"""Print config/README.md, made of the descriptions in the schema."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

SCHEMA = Path(__file__).parents[1] / "schemas" / "config.schema.yaml"
Schema = dict[str, Any]


def page(schema: Schema) -> str:
    """Markdown: the introduction, the top level's keys, then one table for each kind of entry."""
    lines = [f"# {schema['title']}", "", schema["description"].rstrip(), "", "## Keys", "", *table(schema)]
    for name, entry in schema["$defs"].items():
        lines += ["", f"### {name}", "", entry["description"].rstrip(), "", *table(entry)]
    return "\n".join(lines) + "\n"


def table(entry: Schema) -> Iterator[str]:
    yield "| key | value | meaning |"
    yield "|---|---|---|"
    for key, value in keys(entry):
        description = " ".join(value["description"].split())
        yield f"| `{key}` | {kind(value)} | {description} |"


def keys(entry: Schema, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    """The keys of an object, and of the objects that stand inside it and have no table of their own."""
    for name, value in entry["properties"].items():
        yield prefix + name, value
        if "properties" in value:
            yield from keys(value, f"{prefix}{name}.")


def kind(value: Schema) -> str:
    """What may stand there, in few words."""
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name})"
    if "enum" in value:
        return " or ".join(f"`{choice}`" for choice in value["enum"])
    if "items" in value:
        return f"list of {kind(value['items'])}"
    if "additionalProperties" in value:
        entries = value["additionalProperties"]
        return f"name: {kind(entries)}" if entries else "mapping"
    names = value["type"] if isinstance(value["type"], list) else [value["type"]]
    return " or ".join(names) + limits(value)


def limits(value: Schema) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {value[key]}" for key, sign in signs.items() if key in value]
    return f" {', '.join(found)}" if found else ""


if __name__ == "__main__":
    print(page(yaml.safe_load(SCHEMA.read_text())), end="")
