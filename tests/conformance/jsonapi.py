"""What JSON:API 1.1 says of a server's documents, as a JSON schema in our own words.

Nobody publishes one for 1.1 (the 1.0 one refuses `describedby`, `ext`, `profile` and `hreflang`). The sections quoted
are those of https://jsonapi.org/format/1.1/.
"""

from typing import Any

import jsonschema_rs

__all__ = ["flaws_of"]

Schema = dict[str, Any]


def _object(members: Schema, *required: str, **others: Any) -> Schema:
    """An object with these members and no other, but for @-members ("Member Names: @-Members")."""
    return {
        "type": "object",
        "properties": members,
        "required": [*required],
        "patternProperties": {"^@": True},
        "additionalProperties": False,
        **others,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


NAME = "^[a-zA-Z0-9\u0080-\U0010ffff]([a-zA-Z0-9\u0080-\U0010ffff_ -]*[a-zA-Z0-9\u0080-\U0010ffff])?$"
""" "Member Names: Allowed Characters": letters and digits first and last; `-`, `_` and the blank between them."""
TEXT: Schema = {"type": "string"}
POINTER: Schema = {"type": "string", "pattern": "^(/|$)"}
NO_TYPE: Schema = {"propertyNames": {"not": {"const": "type"}}}
PAGING = ("first", "last", "prev", "next")

SCHEMA: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    # "Top Level": at least one of data, errors and meta; data and errors not together; included only with data.
    **_object(
        {
            "data": {"anyOf": [{"type": "null"}, _ref("item"), _ref("items")]},
            "errors": {"type": "array", "items": _ref("error"), "minItems": 1},
            "meta": _ref("meta"),
            "jsonapi": _ref("jsonapi"),
            "links": _ref("top_links"),
            "included": {"type": "array", "items": _ref("resource"), "uniqueItems": True},
        },
        anyOf=[{"required": ["data"]}, {"required": ["errors"]}, {"required": ["meta"]}],
        dependentRequired={"included": ["data"]},
        dependentSchemas={"data": {"not": {"required": ["errors"]}}},
    ),
    "$defs": {
        "item": {"anyOf": [_ref("resource"), _ref("identifier")]},
        "items": {"type": "array", "items": _ref("item"), "uniqueItems": True},
        # "Resource Objects". What a server sends has an id; only a client may leave it out.
        "resource": _object(
            {
                "type": _ref("name"),
                "id": TEXT,
                "attributes": _ref("attributes"),
                "relationships": _ref("relationships"),
                "links": _ref("links"),
                "meta": _ref("meta"),
            },
            "type",
            "id",
            # The one deviation, the third seed's: its jobs have an attribute `type`.
            **{"if": {"properties": {"type": {"const": "job"}}}, "else": {"properties": {"attributes": NO_TYPE}}},
        ),
        # "Resource Identifier Objects".
        "identifier": _object({"type": _ref("name"), "id": TEXT, "meta": _ref("meta")}, "type", "id"),
        # "Fields": attributes and relationships share a namespace with each other and with type and id.
        "attributes": {"type": "object", "propertyNames": {"anyOf": [_ref("field"), {"const": "type"}]}},
        "relationships": {
            "type": "object",
            "propertyNames": _ref("field"),
            "additionalProperties": _object(
                {
                    "links": _ref("relation_links"),
                    "data": {"anyOf": [{"type": "null"}, _ref("identifier"), _ref("identifiers")]},
                    "meta": _ref("meta"),
                },
                minProperties=1,
            ),
        },
        "identifiers": {"type": "array", "items": _ref("identifier"), "uniqueItems": True},
        # "Links": a text, null, or an object with an href.
        "link": {
            "anyOf": [
                {"type": ["string", "null"]},
                _object(
                    {
                        "href": TEXT,
                        "rel": TEXT,
                        "describedby": _ref("link"),
                        "title": TEXT,
                        "type": TEXT,
                        "hreflang": {"type": ["string", "array"], "items": TEXT},
                        "meta": _ref("meta"),
                    },
                    "href",
                ),
            ]
        },
        "top_links": _object(dict.fromkeys(("self", "related", "describedby", *PAGING), _ref("link"))),
        "relation_links": _object(dict.fromkeys(("self", "related", *PAGING), _ref("link")), minProperties=1),
        "links": {"type": "object", "additionalProperties": _ref("link")},
        # "JSON:API Object".
        "jsonapi": _object({"version": TEXT, "ext": _ref("uris"), "profile": _ref("uris"), "meta": _ref("meta")}),
        "uris": {"type": "array", "items": TEXT},
        # "Error Objects": at least one member; the status is a text.
        "error": _object(
            {
                "id": TEXT,
                "links": _object({"about": _ref("link"), "type": _ref("link")}),
                "status": {"type": "string", "pattern": "^[1-5][0-9][0-9]$"},
                "code": TEXT,
                "title": TEXT,
                "detail": TEXT,
                "source": _object(
                    {"pointer": {"type": "string", "pattern": "^(/|$)"}, "parameter": TEXT, "header": TEXT}
                ),
                "meta": _ref("meta"),
            },
            minProperties=1,
        ),
        "meta": {"type": "object"},
        "name": {"type": "string", "pattern": NAME},
        "field": {"pattern": f"{NAME}|^@", "not": {"enum": ["type", "id"]}},
    },
}

_validator = jsonschema_rs.Draft202012Validator(SCHEMA)


def flaws_of(document: object) -> list[str]:
    """What of a document is not JSON:API 1.1; nothing when all is well."""
    return [
        f"{error.message} at /{'/'.join(map(str, error.instance_path))}" for error in _validator.iter_errors(document)
    ]
