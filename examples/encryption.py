"""Encryption at rest: arguments, results, errors and events are unreadable in the store, its WAL and its backups.

Needs `pip install "durably[encryption]"`, and keys in the environment, the newest first:

    export CLINIC_KEYS=$(python -c 'from durably.encryption import Encryption; print(Encryption.new_key())')
    durably dev examples/encryption.py:engine
    curl -d '{"name": "clinic/visit.ended", "data": {"patient": "Jane Doe", "diagnosis": "ennui"}}' \
        http://127.0.0.1:8484/e/any
    durably show RUN --store sqlite:///clinic.db --codec examples/encryption.py:codec

To change keys, put a new one in front and restart: CLINIC_KEYS=NEW,OLD. Runs that began under the old key go on, what
is written from now on is under the new one.
"""

import os

from durably import Engine, Event, step, workflow
from durably.encryption import Encryption


@step
async def write_letter(patient: str, diagnosis: str) -> str:
    return f"Dear {patient}, you have {diagnosis}. Come back in a week."


@step
async def post(letter: str) -> int:
    return len(letter)


@workflow(on="clinic/visit.ended")
async def inform(event: Event) -> int:
    letter = await write_letter(event.data["patient"], event.data["diagnosis"])
    return await post(letter)


codec = Encryption(os.environ["CLINIC_KEYS"].split(","))
engine = Engine("sqlite:///clinic.db", workflows=[inform], codec=codec)
