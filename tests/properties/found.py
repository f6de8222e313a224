"""Programs that have found something once, as text."""

from tests.properties.programs import Program

__all__ = ["FOUND"]

FOUND = {
    "asyncio.wait over gathered futures gave its sets in the order of addresses": Program.from_json(
        '{"body":{"do":"Sequence","parts":[{"do":"Do","name":"s1","takes":1.5},'
        '{"do":"Race","parts":[{"do":"Set"},{"do":"Await"}],"by":"wait_gathered"}]}}'
    ),
    "an anyio task that a finally started at eviction was never awaited": Program.from_json(
        '{"body":{"do":"Finally","part":{"do":"Do","name":"s1","takes":1.5},'
        '"cleanup":{"do":"Crew","parts":[{"do":"Do","name":"s2","takes":1.25}]}}}'
    ),
    "a finally with two waits stayed suspended at eviction, for the garbage collector": Program.from_json(
        '{"body":{"do":"Rescue","part":{"do":"Finally","part":{"do":"Sleep","seconds":2.5},'
        '"cleanup":{"do":"Race","parts":[{"do":"Set"},{"do":"Do","name":"s1","takes":1.5}]}},"otherwise":{"do":"Sleep"}}}'
    ),
}
