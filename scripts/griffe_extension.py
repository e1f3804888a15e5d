"""Complete what griffe, which reads the source code for the documentation, cannot see.

The builder declares each of its methods in one line. Here a method gets the signature of its layer
and the first paragraph of the layer's docstring. Doctests become blocks of code.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^( *)>>> .*(?:\n(?! *$).*)*", re.MULTILINE)
"""An example: from the first prompt to the next empty line, with its indentation."""


def fence_doctests(text: str) -> str:
    """Return a docstring with its doctests as fenced blocks of code."""
    return DOCTEST.sub(lambda match: f"{match[1]}```pycon\n{match[0]}\n{match[1]}```", text)


class Kvwrap(griffe.Extension):
    """Completes the objects of kvwrap before they are rendered."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Make examples in docstrings readable."""
        if obj.docstring is not None and ">>>" in obj.docstring.value:
            obj.docstring.value = fence_doctests(obj.docstring.value)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Replace the builder's lines by methods."""
        if pkg.name != "kvwrap":
            return
        stack = pkg["builder.Stack"]
        for name, attribute in list(stack.attributes.items()):
            called = re.fullmatch(r"_adds\(layer_classes\.(\w+)\)", str(attribute.value))
            if called is not None:
                stack.set_member(name, _method(attribute, pkg["layers"][called[1]]))


def _method(line: griffe.Attribute, layer: griffe.Alias) -> griffe.Function:
    """Return the builder method of a layer."""
    layer_class = layer.final_target
    docs = layer_class.docstring
    assert isinstance(layer_class, griffe.Class)
    assert docs is not None
    self_parameter = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
    arguments = [each for each in layer_class.parameters if each.name != "self"]
    method = griffe.Function(
        line.name,
        parameters=griffe.Parameters(self_parameter, *arguments),
        returns=griffe.ExprName("Stack", parent=line.parent),
        lineno=line.lineno,
        endlineno=line.endlineno,
        parent=line.parent,
    )
    first_paragraph = docs.value.partition("\n\n")[0]
    method.docstring = griffe.Docstring(
        f"{first_paragraph}\n\nThe arguments are those of [`{layer.name}`][kvwrap.{layer.name}].",
        parent=method,
        parser=docs.parser,
        parser_options=docs.parser_options,
    )
    return method
