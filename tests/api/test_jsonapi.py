"""Documents of many resources."""

import json

from aiohttp.test_utils import make_mocked_request

from durably.api.jsonapi import Page, Resource, numbered


def test_of_a_long_list_only_what_is_on_the_page_is_made_a_resource() -> None:
    shown: list[int] = []

    def show(item: int) -> Resource:
        shown.append(item)
        return Resource("number", str(item), {})

    answer = numbered(make_mocked_request("GET", "/?page[number]=2"), range(10_000), Page(2, 3, total=True), show)
    assert isinstance(answer.body, bytes)
    document = json.loads(answer.body)
    assert [each["id"] for each in document["data"]] == ["3", "4", "5"]
    assert document["meta"]["pagination"] == {"page": 2, "size": 3, "total": 10_000, "total_pages": 3_334}
    assert shown == [3, 4, 5]
