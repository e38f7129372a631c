"""What the project wants to reach on two cores, and what the records say of it."""

import statistics
from dataclasses import dataclass

from .records import Records, percent, ratio


@dataclass(frozen=True)
class Goal:
    """`met` is None where nothing was measured."""

    what: str
    wanted: str
    measured: str = "not measured"
    met: bool | None = None


def goals(records: Records) -> list[Goal]:
    """Those of issue 6, each from the records that tell of it; every size must reach it."""
    return [*_iteration(records), _loss(records), _batch(records), _memory(records)]


def _sizes(records: Records, part: str) -> Records:
    return {name.removeprefix(part): record for name, record in records.items() if name.startswith(part)}


def _iteration(records: Records) -> list[Goal]:
    found = _sizes(records, "iteration_")
    faster = Goal("an iteration against PyTorch's best", "at least 2.0 times as fast")
    outside = Goal("losses and optimiser, of an iteration", "under 8 %")
    if not found:
        return [faster, outside]
    told = "; ".join(f"{size} px {ratio(record['ratio'])}" for size, record in found.items())
    shares = {size: record["share_outside_network"] for size, record in found.items()}
    return [
        Goal(faster.what, faster.wanted, told, all(record["ratio"]["median"] >= 2 for record in found.values())),
        Goal(
            outside.what,
            outside.wanted,
            "; ".join(f"{size} px {percent(share)}" for size, share in shares.items()),
            all(share < 0.08 for share in shares.values()),
        ),
    ]


def _loss(records: Records) -> Goal:
    what, wanted = "time to within 1 % of the loss of PyTorch's 300 iterations", "at most 1/3 of PyTorch's"
    told, met = [], []
    for size, record in _sizes(records, "loss_").items():
        share = record["ratio_of_time"]
        told.append(f"random VGG-19, {size} px " + (f"{share:.2f}" if share else "not reached"))
        met.append(bool(share) and share <= 1 / 3)
    timed = [one for one in records.get("convergence", {}).get("networks", []) if "measured" in one and one["best"]]
    for network in timed:
        name = network["best"]
        shares = [pair["methods"][name].get("share") for pair in network["pairs"]]
        reached = [share for share in shares if share is not None]
        spread = f"{statistics.median(reached):.2f} ({min(reached):.2f} to {max(reached):.2f})" if reached else "none"
        told.append(f"{network['network']}, {network['size']} px, {len(reached)} of {len(shares)} pairs {spread}")
        met.append(len(reached) == len(shares) and max(reached) <= 1 / 3)
    return Goal(what, wanted, "; ".join(told), all(met)) if told else Goal(what, wanted)


def _batch(records: Records) -> Goal:
    what, wanted = "16 pictures of 256 px together against one at a time", "at least 1.2 times the pictures an hour"
    row = next((row for row in records.get("batch", {}).get("rows", []) if row["batch"] == 16), None)
    if row is None:
        return Goal(what, wanted)
    told = "; ".join(f"{count} iterations {ratio(spread)}" for count, spread in row["ratio"].items())
    usual = row["computed_ratio_at_300"]
    return Goal(what, wanted, f"{told}; 300, computed {usual:.2f}", usual >= 1.2)


def _memory(records: Records) -> Goal:
    what, wanted = "peak memory at 1024 px", "at most 0.7 of PyTorch's"
    record = records.get("memory_1024")
    if record is None:
        return Goal(what, wanted)
    others = {who: spread for who, spread in record["ratio"].items() if who != "ours"}
    told = "; ".join(f"{who} {ratio(spread)}" for who, spread in others.items())
    return Goal(what, wanted, told, all(spread["median"] <= 0.7 for spread in others.values()))
