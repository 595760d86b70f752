"""Finds what a template's policies grant more widely than they should."""

import pathlib
import sys
from collections.abc import Iterator

import yaml


def too_wide(template: pathlib.Path) -> Iterator[str]:
    """One sentence for each: an action with `*`, or a resource `*` without a comment above that says why."""
    text = template.read_text()
    lines = text.splitlines()
    for statement in statements(yaml.compose(text)):
        parts = {key.value: value for key, value in statement.value}
        if parts["Effect"].value != "Allow":
            continue
        place = f"{template}:{statement.start_mark.line + 1}"
        explained = lines[statement.start_mark.line - 1].lstrip().startswith("#")
        if any("*" in action for action in scalars(parts.get("Action"))):
            yield f"{place}: grants actions by `*`"
        if any(name == "*" or name.endswith(":*") for name in scalars(parts.get("Resource"))) and not explained:
            yield f"{place}: grants all resources, and no comment above it says why"
        # These grant everything but what they name.
        for name in {"NotAction", "NotResource", "NotPrincipal"} & parts.keys():
            yield f"{place}: grants by {name}"


def statements(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    if isinstance(node, yaml.MappingNode):
        if "Effect" in (key.value for key, _ in node.value):
            yield node
        for _, value in node.value:
            yield from statements(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from statements(value)


def scalars(node: yaml.Node | None) -> list[str]:
    if isinstance(node, yaml.ScalarNode):
        return [node.value]
    return [value.value for value in node.value if isinstance(value, yaml.ScalarNode)] if node else []


if __name__ == "__main__":
    sys.exit("\n".join(too_wide(pathlib.Path(sys.argv[1]))) or None)
