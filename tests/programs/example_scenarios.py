"""The programs in examples/, and what happens to them."""

from durably import NonRetriableError
from examples import agent, billing, chat, documents, drip, quorum, quotes, subscription, trip
from tests.programs.a_scenario import CANCELED, Scenario, cancel, send, tell

__all__ = ["SCENARIOS"]

HOUR_S = 3600.0
DAY_S = 86_400.0


def ask(carrier: str, kilos: float) -> quotes.Quote:
    if carrier == "swift":
        raise ConnectionError("swift is out of service")
    return quotes.Quote(carrier, round(kilos * 99))


def ask_takes(carrier: str, kilos: float) -> float:
    del kilos
    return quotes.SECONDS[carrier]


def charge(customer: str, cents: int, month: int) -> None:
    del customer, cents
    if month == 3:
        raise ConnectionError("the bank does not answer")


def book(service: str, city: str, days: int) -> str:
    del days
    if (service, city) == ("car", "Atlantis"):
        raise NonRetriableError("there are no roads")
    return f"{service}-{city}"


def count_words(text: str) -> int:
    if text.endswith("bad"):
        raise NonRetriableError("this is no text")
    return len(text.split())


def book_takes(service: str, city: str, days: int) -> float:
    del city, days
    return trip.SECONDS[service]


AGENT = [
    Scenario(
        name="an agent's refund is approved after two days",
        workflow=agent.assist,
        args=("Make it good.",),
        steps=[agent.ask_model, *agent.TOOLS.values()],
        plan=[(2 * DAY_S, tell("approve", {"by": "ada", "yes": True}))],
        outcome="Done. o-7 is refunded",
        effects={"ask_model": 3, "find_order": 1, "find_policy": 1, "refund": 1},
        published=[{"waiting for": "approve", "tool": "refund", "argument": "o-7"}],
    ),
    Scenario(
        name="nobody approves an agent's refund",
        workflow=agent.assist,
        args=("Make it good.",),
        steps=[agent.ask_model, *agent.TOOLS.values()],
        outcome="Done. refund was not approved",
        effects={"ask_model": 3, "find_order": 1, "find_policy": 1},
        published=[{"waiting for": "approve", "tool": "refund", "argument": "o-7"}],
    ),
]

SCENARIOS = [
    *AGENT,
    Scenario(
        name="all customers get their invoices",
        workflow=billing.billing,
        steps=[billing.customers, billing.invoice],
        fakes={"customers": lambda: [f"c-{number}" for number in range(5)]},
        outcome=4500,
        effects={"customers": 1, "invoice": 5},
    ),
    Scenario(
        name="the first of three quotes that comes is taken",
        workflow=quotes.first_quote,
        args=(12.5,),
        steps=[quotes.ask],
        fakes={"ask": ask},
        takes={"ask": ask_takes},
        outcome=quotes.Quote("steady", 1238),
        effects={"ask": 1},
    ),
    Scenario(
        name="a subscription changes its plan and is canceled in its fourth month",
        workflow=subscription.subscribe,
        args=("ada", subscription.Plan("basic", 900)),
        steps=[subscription.charge, subscription.send_mail],
        plan=[(30, tell("change_plan", {"name": "pro", "cents": 2900})), (75, cancel)],
        outcome=CANCELED,
        effects={"charge": 4, "send_mail": 1},
        runs=4,
    ),
    Scenario(
        name="a subscription is not paid in its third month",
        workflow=subscription.subscribe,
        args=("ada", subscription.Plan("basic", 900)),
        steps=[subscription.charge, subscription.send_mail],
        fakes={"charge": charge},
        outcome="unpaid in month 3",
        effects={"charge": 2, "send_mail": 1},
        runs=3,
    ),
    Scenario(
        name="a trial ends early with an upgrade",
        workflow=drip.nurture,
        args=None,
        steps=[drip.send_mail],
        plan=[
            (0, send("trial/started", email="ada")),
            (9, send("trial/upgraded", email="bob", plan="basic")),
            (11, send("trial/upgraded", email="ada", plan="pro")),
        ],
        outcome="bought pro",
        effects={"send_mail": 3},
    ),
    Scenario(
        name="a trial goes by",
        workflow=drip.nurture,
        args=None,
        steps=[drip.send_mail],
        plan=[(0, send("trial/started", email="ada"))],
        outcome="did not buy",
        effects={"send_mail": 4},
    ),
    Scenario(
        name="documents go through a queue to four workers",
        workflow=documents.index,
        args=(["a", "bad", "c", "d", "e", "f", "g"],),
        steps=[documents.fetch, documents.count_words],
        fakes={"count_words": count_words},
        takes={"count_words": 3},
        outcome={"a": 4, "bad": None, "c": 4, "d": 4, "e": 4, "f": 4, "g": 4},
        effects={"fetch": 7, "count_words": 6},
        published=[{"done": n, "of": 7} for n in range(1, 8)],
    ),
    Scenario(
        name="a trip is booked",
        workflow=trip.book_trip,
        args=("Oslo", 3),
        steps=[trip.book, trip.give_back],
        fakes={"book": book},
        takes={"book": book_takes},
        outcome={"hotel": "hotel-Oslo", "car": "car-Oslo", "flight": "flight-Oslo"},
        effects={"book": 3},
    ),
    Scenario(
        name="a trip without a car is given back",
        workflow=trip.book_trip,
        args=("Atlantis", 3),
        steps=[trip.book, trip.give_back],
        fakes={"book": book},
        takes={"book": book_takes},
        outcome=None,
        effects={"book": 1, "give_back": 3},
    ),
    Scenario(
        name="a trip is canceled when it is half booked",
        workflow=trip.book_trip,
        args=("Oslo", 3),
        steps=[trip.book, trip.give_back],
        fakes={"book": book},
        takes={"book": book_takes},
        plan=[(4.5, cancel)],
        outcome=CANCELED,
        effects={"book": 2, "give_back": 3},
        races=True,
    ),
    Scenario(
        name="two of three votes release",
        workflow=quorum.release,
        args=("2.0", ["ada", "bob", "cleo"]),
        steps=[quorum.ask_for_vote, quorum.roll_out],
        plan=[
            (HOUR_S, tell("vote", {"by": "ada", "yes": True})),
            (2 * HOUR_S, tell("vote", {"by": "mallory", "yes": True})),
            (3 * HOUR_S, tell("vote", {"by": "bob", "yes": False})),
            (4 * HOUR_S, tell("vote", {"by": "bob", "yes": True})),
        ],
        outcome="released",
        effects={"ask_for_vote": 3, "roll_out": 1},
    ),
    Scenario(
        name="a vote is too late",
        workflow=quorum.release,
        args=("2.0", ["ada", "bob", "cleo"]),
        steps=[quorum.ask_for_vote, quorum.roll_out],
        plan=[(HOUR_S, tell("vote", {"by": "ada", "yes": True}))],
        outcome="nobody decided",
        effects={"ask_for_vote": 3},
    ),
    Scenario(
        name="a chat goes on as new runs and ends when nobody talks",
        workflow=chat.talk,
        args=((), 2),
        steps=[chat.answer],
        plan=[
            (60, tell("say", "one")),
            (60.5, tell("say", "two")),
            (61, tell("say", "three")),  # while there are two to be answered, and then a new run
            (120, tell("say", "four")),
            (180, tell("say", "five")),
        ],
        outcome="ended after: five? Tell me more.",
        effects={"answer": 5},
        published=[
            *({"reply": f"{word}? Tell me more."} for word in ("one", "two", "three", "four", "five")),
            {"bye": "nobody is there any more"},
        ],
        runs=3,
    ),
]
