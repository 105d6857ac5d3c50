"""What a client asks of a list: some columns only, an order, one page."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from .errors import RequestError, bad_request

_PAGE_SIZE: Final = 100
_LARGEST_PAGE: Final = 500
#: Highest number of a page; answers in JSON have no larger integers.
_LAST_PAGE: Final = 2**63 - 1


def arrange(
    items: Iterable[Any],
    view: Callable[[Any], dict[str, Any]],
    query: Mapping[str, str],
    paged: bool = True,
    fields: Mapping[str, Callable[[Any], Any]] = MappingProxyType({}),
) -> Any:
    """Return a list, or the page of it, that a client asks for.

    Args:
        items: The objects, in their usual order; each has a ``name`` if the list has pages.
        view: Makes the JSON of an object.
        query: Parameters of the request: ``columns``, ``sort``, ``sort_reverse``, ``page``, ``page_size``,
            ``name`` and ``use_regex``.
        paged: Whether the list has pages.
        fields: Makes single fields of that JSON, by name: a page sorted by one of them costs no more than it.

    Raises:
        RequestError: There is no such page.
    """
    objects = list(items)
    if not (paged and "page" in query):
        return [choose(item, query) for item in _sorted([view(item) for item in objects], query)]
    page, size = _page(query)
    matches = _matcher(query)
    found = [item for item in objects if matches(item.name)]
    pages = math.ceil(len(found) / size)
    if found and page > pages:
        reason = f"Page out of range, page: {page} page size: {size}, len: {len(found)}"
        raise RequestError(400, {"error": "page_out_of_range", "reason": reason})
    start = (page - 1) * size
    path = query.get("sort", "")
    if path and path not in fields:
        shown = _sorted([view(item) for item in found], query)[start : start + size]
    else:
        if path:
            field = fields[path]
            found.sort(key=lambda item: _sort_key(field(item), []))
        chosen = found[::-1] if query.get("sort_reverse") == "true" else found
        shown = [view(item) for item in chosen[start : start + size]]
    return {
        "filtered_count": len(found),
        "item_count": len(shown),
        "items": [choose(item, query) for item in shown],
        "page": page,
        "page_count": pages,
        "page_size": size,
        "total_count": len(objects),
    }


def choose(item: dict[str, Any], query: Mapping[str, str]) -> Any:
    """Keep the columns that a client asks for; a dot leads into an object."""
    if "columns" not in query:
        return item
    return _columns(item, [name.split(".") for name in query["columns"].split(",")])


def _columns(item: dict[str, Any], paths: list[list[str]]) -> Any:
    chosen: dict[str, Any] = {}
    for name, value in item.items():
        deeper = [path[1:] for path in paths if path[0] == name]
        if not deeper:
            continue
        is_whole = [] in deeper or not isinstance(value, dict)
        chosen[name] = value if is_whole else _columns(value, deeper)
    return chosen or []  # as RabbitMQ writes an object that is empty


def _sorted(items: list[dict[str, Any]], query: Mapping[str, str]) -> list[dict[str, Any]]:
    path = query.get("sort", "")
    if path:
        items.sort(key=lambda item: _sort_key(item, path.split(".")))
    return items[::-1] if query.get("sort_reverse") == "true" else items


def _sort_key(item: Any, path: list[str]) -> tuple[int, Any]:
    for name in path:
        item = item.get(name) if isinstance(item, dict) else None
    if item is None:
        return (0, 0)
    return (1, item) if isinstance(item, int | float) else (2, str(item))


def _page(query: Mapping[str, str]) -> tuple[int, int]:
    try:
        page = int(query["page"])
        size = int(query["page_size"]) if "page_size" in query else None
    except ValueError:
        raise bad_request("Pagination parameters are invalid") from None
    if not 1 <= page <= _LAST_PAGE or (size is not None and not 1 <= size <= _LARGEST_PAGE):
        shown = "undefined" if size is None else size
        reason = f"Invalid pagination parameters: page number {page}, page size {shown}"
        raise RequestError(400, {"error": "invalid_pagination_parameters", "reason": reason})
    return page, size or _PAGE_SIZE


def _matcher(query: Mapping[str, str]) -> Callable[[str], bool]:
    wanted = query.get("name", "")
    if not wanted:
        return lambda _name: True
    if query.get("use_regex") != "true":
        return lambda name: wanted.lower() in name.lower()
    from ...validation import guarded_regex

    def matches(name: str) -> bool:
        try:
            with guarded_regex.budget():
                return guarded_regex.search(f"(?i){wanted}", name)
        except (re.error, OverflowError, RecursionError, guarded_regex.TooCostlyError):
            return False

    return matches
