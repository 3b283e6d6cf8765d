"""The ledger of claims: each claim of the paper as a testable statement, what our runs say of it, and a verdict.

A claim is plain data from the configuration: `where` it stands, its `statement`, the `kind` of test, and what the kind
needs (KINDS). Data are named `home` (the paper's MARS) and `away` (its DukeMTMC-VideoReID); a model may have data of
its own in their stead, as VRSTC its completed frames; see `make`.

A test yields effects, which the claim wants above 0, each with an interval. The claim *holds* if every 95 % interval
lies above 0 (an intersection-union test, which needs no correction for their number). It *does not hold* if any lies
below 0, where k effects have intervals of 1 − 5 %/k (Bonferroni), since one is enough. Else we *cannot tell*; nor can
we from one seed, or where a run that it needs is not in the configuration. Nobody types a verdict.

Intervals over seeds and queries are percentile intervals of the pigeonhole bootstrap (A. B. Owen, "The pigeonhole
bootstrap", Annals of Applied Statistics 1(2), 2007): seeds, and people with all their queries, are drawn with
replacement, each on their own, and everything that is compared sees the same draw. What a seed does to a single query
counts up to three times in it, and the seeds' own part too little when they are two or three: intervals are too wide
where the first is the larger, and too narrow against models that differ much from seed to seed. Where there are seeds
alone, nothing can be drawn from so few: those intervals are Student's, and the test people are taken as they are. A
verdict from the queries of one dataset names that interval of its seeds, too. No interval speaks of other data, or of
another pre-trained trunk.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from vreid.data.attributes import QUALITY
from vreid.data.tracklets import KEY
from vreid.errors import InputError
from vreid.files import written_whole
from vreid.results import Result, Training, read_cost, read_focus, read_premise, read_results, read_trainings

DRAWS = 4000
ERROR = 0.05  # of an interval: the share that lies outside
HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot tell"
COLUMNS = ["where", "statement", "verdict", "measure", "effect", "low", "high"]
COLUMNS += ["num_seeds", "num_queries", "data", "note"]

Claim = Mapping[str, Any]


@dataclass(frozen=True)
class Effect:
    """One number that a claim wants above 0."""

    what: str
    value: float
    interval: Callable[[float], tuple[float, float]]  # the share that may lie outside → its ends
    seeds: int  # 0: counted, and not measured
    queries: int = 0
    by_seeds: Callable[[float], tuple[float, float]] | None = None  # the same by the seeds' means alone

    @property
    def low(self) -> float:
        return self.interval(ERROR)[0]

    @property
    def high(self) -> float:
        return self.interval(ERROR)[1]


class Missing(Exception):
    """A run that a claim needs is not among the results."""


@dataclass(frozen=True)
class Evidence:
    """Everything that claims are tested on."""

    places: Mapping[str, str]  # home, away → dataset
    own_places: Mapping[str, Mapping[str, str]]  # model → the same, where it has datasets of its own
    results: Mapping[tuple, Mapping[int, Result]]  # (model, train, test) → seed → result
    trainings: Mapping[tuple, Mapping[int, Training]]  # (model, train) → seed → history
    gmac: Mapping[str, Mapping[str, float]]  # clip, tracklet → model → 10⁹ multiply-adds …
    scale: str  # … counted with this
    premises: Mapping[tuple, Mapping[int, Mapping[str, Any]]]  # (model, train, test) → seed → what `premise` found
    focuses: Mapping[tuple, Mapping[int, Mapping[str, Any]]]  # … → seed → what `focus` found

    def run(self, model: str, train: str, test: str) -> tuple[str, str, str]:
        """(model, dataset, dataset) of a model that is trained and tested on `home` or `away`."""
        places = self.own_places.get(model, self.places)
        return model, places[train], places[test]

    def seeds(self, *whos: tuple) -> list[int]:
        """The seeds that all of these (model, train, test) have; Missing if there are none."""
        for who in whos:
            if who not in self.results:
                raise Missing(f"no run of {who[0]} trained on {who[1]}, tested on {who[2]}")
        return common(*(self.results[who] for who in whos))

    def scores(self, whose: Mapping[tuple, Sequence[int]], metric: str) -> tuple[np.ndarray, list[np.ndarray]]:
        """A metric of each query with a match, in percent: (seeds, queries) of each (model, train, test) → seeds.

        Before them, the person of each query (queries,), numbered from 0. Raises InputError where their queries are not
        the same.
        """
        runs = {who: [self.results[who][seed] for seed in seeds] for who, seeds in whose.items()}
        first = next(result for results in runs.values() for result in results)
        asked = query_scores(first, metric).index
        found = []
        for results in runs.values():
            scores = [query_scores(result, metric) for result in results]
            for result, own in zip(results, scores):
                if not own.index.equals(asked):
                    raise InputError(f"{result.path}: has other queries than {first.path}; score both again")
            found.append(np.array(scores))
        return pd.factorize(asked.get_level_values("pid"))[0], found


def common(*runs: Mapping[int, Any]) -> list[int]:
    """The seeds that all of these runs by seed have; Missing if there are none."""
    if not (seeds := set.intersection(*map(set, runs))):
        raise Missing("no seed that all of its runs have")
    return sorted(seeds)


def make(
    spec: Mapping[str, Any],
    metrics: Iterable[str | Path],
    histories: Iterable[str | Path],
    costs: Iterable[str | Path],
    premises: Iterable[str | Path],
    focuses: Iterable[str | Path],
    out: str | Path,
) -> None:
    """Write the ledger as CSV.

    `spec`: {"home": dataset, "away": dataset, "datasets": {model: {"home": …, "away": …}, …}, "ledger": [claim, …]}.
    Each metrics.json needs its per_query.csv.gz beside it, each history.csv its train.json.
    Raises InputError for a file that is missing or torn, or an entry that no kind understands.
    """
    with written_whole(out) as aside:
        ledger(spec, gather(spec, metrics, histories, costs, premises, focuses)).to_csv(aside, index=False)


def gather(
    spec: Mapping[str, Any],
    metrics: Iterable,
    histories: Iterable,
    costs: Iterable,
    premises: Iterable = (),
    focuses: Iterable = (),
) -> Evidence:
    results: dict[tuple, dict[int, Result]] = {}
    for result in read_results(metrics):
        results.setdefault((result.model, result.train, result.test), {})[result.seed] = result
    trainings: dict[tuple, dict[int, Training]] = {}
    for training in read_trainings(histories):
        trainings.setdefault((training.model, training.train), {})[training.seed] = training
    counted = list(map(read_cost, costs))
    gmac = {part: {cost["model"]: cost[f"{part}_gmac"] for cost in counted} for part in ("clip", "tracklet")}
    within_people: dict[tuple, dict[int, Mapping[str, Any]]] = {}
    for found in map(read_premise, premises):
        who = found["model"], found["train"], found["test"]
        within_people.setdefault(who, {})[found["seed"]] = found
    attention: dict[tuple, dict[int, Mapping[str, Any]]] = {}
    for found in map(read_focus, focuses):
        who = found["model"], found["train"], found["test"]
        attention.setdefault(who, {})[found["seed"]] = found["streams"]
    places = {side: spec[side] for side in ("home", "away")}
    scale = " and ".join(dict.fromkeys(cost["scale"] for cost in counted))
    return Evidence(places, spec.get("datasets", {}), results, trainings, gmac, scale, within_people, attention)


def ledger(spec: Mapping[str, Any], evidence: Evidence) -> pd.DataFrame:
    """One row a claim (COLUMNS); effects and intervals in the unit that `measure` names."""
    return pd.DataFrame([judged(claim, evidence) for claim in spec["ledger"]], columns=COLUMNS)


def judged(claim: Claim, evidence: Evidence) -> dict[str, Any]:
    """The row of one claim, with the effect that decides it.

    That is the one whose interval ends lowest, if any lies below 0 (of several effects, it need not be enough to refute
    the claim); else the one whose interval reaches lowest.
    """
    if claim["kind"] not in KINDS:
        raise InputError(f"claims.ledger: {claim['kind']!r} is none of the kinds {', '.join(KINDS)}")
    row = {key: claim[key] for key in ("where", "statement")} | {"data": " and ".join(_data(claim, evidence))}
    try:
        effects = KINDS[claim["kind"]](claim, evidence)
    except KeyError as key:
        raise InputError(f"claims.ledger: {claim['statement']!r} lacks the key {key}, which its kind needs") from None
    except Missing as missing:
        return row | {"num_seeds": 0, "num_queries": 0, "verdict": OPEN, "note": f"not measured: {missing}"}
    said = verdict(effects)
    below = [effect for effect in effects if effect.high < 0]
    worst = min(below, key=lambda effect: effect.high) if below else min(effects, key=lambda effect: effect.low)
    beside = [f"one seed alone: {e.what}" for e in effects if e.seeds == 1]
    if said != OPEN and worst.by_seeds:
        low, high = worst.by_seeds(ERROR)
        beside.append(f"by its seeds' means alone (Student): {worst.value:+.4g} [{low:+.4g}, {high:+.4g}]")
    if below and said == OPEN and len(effects) > 1:
        beside.append(f"below 0, but one of {len(effects)} effects, whose intervals must be wider to refute")
    beside += [f"{e.what}: {e.value:+.4g} [{e.low:+.4g}, {e.high:+.4g}]" for e in effects if e is not worst]
    return row | {
        "measure": worst.what,
        "effect": round(worst.value, 6),
        "low": round(worst.low, 6),
        "high": round(worst.high, 6),
        "num_seeds": min(e.seeds for e in effects),
        "num_queries": worst.queries,
        "verdict": said,
        "note": "; ".join(beside),
    }


def verdict(effects: Sequence[Effect]) -> str:
    """What all effects together say of a claim that wants every one above 0."""
    if any(effect.seeds == 1 for effect in effects):
        return OPEN
    if any(effect.seeds == 0 and effect.value <= 0 for effect in effects):  # what is counted is no tie by chance
        return FAILS
    if all(effect.low > 0 for effect in effects):
        return HOLDS
    return FAILS if any(effect.interval(ERROR / len(effects))[1] < 0 for effect in effects) else OPEN


# ---- intervals ----


def draw_weights(count: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws, count): how often each of `count` is drawn with replacement, as shares that sum to 1."""
    return rng.multinomial(count, np.full(count, 1 / count), size=draws) / count


def draw_queries(people: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws, queries): the shares of the queries when people (queries,), from 0, are drawn with all their queries."""
    drawn = draw_weights(people.max() + 1, draws, rng)[:, people]
    return drawn / drawn.sum(1, keepdims=True)


def pigeonhole(values: np.ndarray, seeds: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Means (draws,) of values (S, Q) under the weights of seeds (draws, S) and of queries (draws, Q)."""
    return np.einsum("ds,ds->d", seeds, queries @ values.T)


def rounded(end: float) -> float:
    """An end of an interval: a sum of shares that is 0 comes out as ± 1e-16."""
    return round(end, 9) + 0.0  # which makes -0 a 0


def of_draws(what: str, value: float, drawn: np.ndarray, seeds: int, queries: int = 0) -> Effect:
    """A value with the percentile interval of its bootstrap draws."""

    def interval(error: float) -> tuple[float, float]:
        low, high = np.quantile(drawn, [error / 2, 1 - error / 2])
        return rounded(float(low)), rounded(float(high))

    return Effect(what, float(value), interval, seeds, queries)


def of_values(what: str, values: np.ndarray, people: np.ndarray | None = None) -> Effect:
    """The mean of values (S, Q), with the pigeonhole bootstrap's interval over seeds and over what else they are of.

    That are queries where it is said of which `people` (Q,), who are drawn.
    """
    rng, (seeds, count) = np.random.default_rng(0), values.shape
    drawn_seeds = draw_weights(seeds, DRAWS, rng)
    drawn = draw_weights(count, DRAWS, rng) if people is None else draw_queries(people, DRAWS, rng)
    found = of_draws(what, values.mean(), pigeonhole(values, drawn_seeds, drawn), seeds, 0 if people is None else count)
    return replace(found, by_seeds=of_seeds(what, values.mean(1)).interval)


def of_seeds(what: str, values: np.ndarray) -> Effect:
    """The mean of one value a seed (S,) with Student's interval; of one seed, that is everything."""
    count, mean = len(values), float(values.mean())

    def interval(error: float) -> tuple[float, float]:
        if count < 2:
            return -np.inf, np.inf
        reach = float(stdtrit(count - 1, 1 - error / 2) * values.std(ddof=1) / np.sqrt(count))
        return rounded(mean - reach), rounded(mean + reach)

    return Effect(what, mean, interval, count)


def query_scores(result: Result, metric: str) -> pd.Series:
    """A metric of each query with a match under the headline protocol, in percent: its AP, or whether rank k has it."""
    path = result.path.with_name("per_query.csv.gz")
    if not re.fullmatch(r"mAP|R[1-9]\d*", metric):
        raise InputError(f"claims.ledger: {metric!r} is no metric; ask for mAP or R1, R5, …")
    try:
        table = pd.read_csv(path)
        table = table[(table.protocol == result.headline) & table.first_match_rank.notna()].set_index(KEY)
        found = table.average_precision if metric == "mAP" else table.first_match_rank <= int(metric[1:])
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; score the run again") from None
    except (AttributeError, KeyError, OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not the queries of a run ({error}); score the run again") from None
    if table.empty:
        raise InputError(f"{path}: no query has a match under {result.headline}; score the run again")
    return 100.0 * found


# ---- kinds of claims ----


def gain(claim: Claim, evidence: Evidence) -> list[Effect]:
    """`model` beats each of `over` in all `metrics`, in points, on every pair of datasets in `pairs`."""
    return _compared([(claim["model"], other) for other in claim["over"]], claim, evidence)


def order(claim: Claim, evidence: Evidence) -> list[Effect]:
    """Each of `models` beats the next one."""
    return _compared(list(zip(claim["models"], claim["models"][1:])), claim, evidence)


def _compared(models: Sequence[tuple[str, str]], claim: Claim, evidence: Evidence) -> list[Effect]:
    found = []
    for train, test in _sides(claim):
        for better, other in models:
            runs = [evidence.run(model, train, test) for model in (better, other)]
            seeds = evidence.seeds(*runs)
            for metric in claim.get("metrics", ["mAP"]):
                where = " → ".join(dict.fromkeys(runs[0][1:]))
                what = f"{metric} of {better} − {other} ({where}), points"
                people, (better_scores, other_scores) = evidence.scores(dict.fromkeys(runs, seeds), metric)
                found.append(of_values(what, better_scores - other_scores, people))
    return found


def smaller_gain(claim: Claim, evidence: Evidence) -> list[Effect]:
    """The mAP lead of `model` over the best of `over` is smaller on the away dataset than on the home one, in points.

    Which is the best one is asked in every draw of the bootstrap anew.
    """
    rng = np.random.default_rng(0)
    leads, drawn, seeds, queries = [], [], [], 0
    for place in evidence.places:  # other data: drawn on its own
        own, *rivals = runs = [evidence.run(model, place, place) for model in (claim["model"], *claim["over"])]
        seeds.append(evidence.seeds(*runs))
        people, found = evidence.scores(dict.fromkeys(runs, seeds[-1]), "mAP")
        scores = dict(zip(runs, found))
        weights = draw_weights(len(seeds[-1]), DRAWS, rng), draw_queries(people, DRAWS, rng)
        means = {run: pigeonhole(scores[run], *weights) for run in runs}
        leads.append(scores[own].mean() - max(scores[run].mean() for run in rivals))
        drawn.append(means[own] - np.max([means[run] for run in rivals], axis=0))
        queries += scores[own].shape[1]
    best = "the best of " * (len(claim["over"]) > 1) + ", ".join(claim["over"])
    what = f"mAP lead of {claim['model']} over {best}, {' − '.join(evidence.places.values())}, points"
    return [of_draws(what, leads[0] - leads[1], drawn[0] - drawn[1], min(map(len, seeds)), queries)]


def decline(claim: Claim, evidence: Evidence) -> list[Effect]:
    """Away → home loses a larger share of mAP than home → away, for each of `models`, in percent of the own score."""
    return [_decline(model, evidence) for model in claim["models"]]


def _decline(model: str, evidence: Evidence) -> Effect:
    home, away = places = tuple(evidence.places[side] for side in ("home", "away"))
    rng = np.random.default_rng(0)
    seeds = {train: evidence.seeds(*((model, train, test) for test in places)) for train in places}
    drawn_seeds = {train: draw_weights(len(seeds[train]), DRAWS, rng) for train in places}
    means, drawn, queries = {}, {}, 0
    for test in places:  # its queries are drawn once, for those trained on it and for those that came from elsewhere
        people, scores = evidence.scores({(model, train, test): seeds[train] for train in places}, "mAP")
        drawn_queries = draw_queries(people, DRAWS, rng)
        queries += scores[0].shape[1]
        for train, own in zip(places, scores):
            means[train, test] = own.mean()
            drawn[train, test] = pigeonhole(own, drawn_seeds[train], drawn_queries)

    def difference(score: Mapping) -> Any:
        lost = {train: 100 * (1 - score[train, test] / score[train, train]) for train, test in (places, places[::-1])}
        return lost[away] - lost[home]

    what = f"decline of {model}, {away} → {home} minus {home} → {away}, percent of mAP"
    return of_draws(what, difference(means), difference(drawn), min(map(len, seeds.values())), queries)


def dvdp_lower(claim: Claim, evidence: Evidence) -> list[Effect]:
    """The mean DVDP of the last quarter of the epochs is lower with than without, by `model_pairs`.

    `relative`: DVDP over the mean distance between people of the same epoch, which AITL draws together too.
    """
    relative, found = claim.get("relative", False), []
    unit = "over the distance between people" if relative else "cosine distance"
    for without, with_it in claim["model_pairs"]:
        before, after = (_dvdp(model, evidence, relative) for model in (without, with_it))
        values = [_last_quarter(before[s]).mean() - _last_quarter(after[s]).mean() for s in common(before, after)]
        found.append(of_seeds(f"DVDP of {without} − {with_it}, {unit}", np.array(values)))
    return found


def dvdp_course(claim: Claim, evidence: Evidence) -> list[Effect]:
    """DVDP drops to a minimum in the first half, and rises after it by more than it then still changes.

    Three effects of each seed's curve: the drop (first epoch − minimum of those after it), the rise (mean of the last
    quarter − minimum), and the rise − what the two halves of the last quarter differ by (it has settled). Where the
    minimum is, the other seeds say: a curve's own is below its neighbours by chance alone.
    """
    curves = _dvdp(claim["model"], evidence)
    parts = []
    for seed, curve in curves.items():
        others = [other for key, other in curves.items() if key != seed] or [curve]
        if len(curve) < 8:
            raise Missing(f"{len(curve)} epochs of {claim['model']} have no course; train eight or more")
        least = curve[1 + np.mean(others, axis=0)[1 : len(curve) // 2].argmin()]
        end = _last_quarter(curve)
        rise, half = end.mean() - least, len(end) // 2
        parts.append((curve[0] - least, rise, rise - abs(end[-half:].mean() - end[:-half].mean())))
    names = ("drop after the first epoch", "rise after it", "rise − change within the last quarter")
    return [of_seeds(f"DVDP of {claim['model']}: {name}", values) for name, values in zip(names, np.array(parts).T)]


def _dvdp(model: str, evidence: Evidence, relative: bool = False) -> dict[int, np.ndarray]:
    """Seed → a value an epoch."""
    who = (model, evidence.places["home"])
    if who not in evidence.trainings:
        raise Missing(f"no history of {model} on {who[1]}")
    histories = {seed: training.history for seed, training in evidence.trainings[who].items()}
    found = {s: (own.dvdp / own.spread if relative else own.dvdp).to_numpy(float) for s, own in histories.items()}
    if any(np.isnan(curve).any() for curve in found.values()):
        raise Missing(f"no DVDP of {model}: its batches have fewer than three clips of a person")
    return found


def _last_quarter(curve: np.ndarray) -> np.ndarray:
    return curve[-max(len(curve) // 4, 1) :]


def frontier(claim: Claim, evidence: Evidence) -> list[Effect]:
    """Each of `over` that costs no more than `model` a clip has a lower mAP, in points."""
    gmac = _counted(claim, evidence)["clip"]
    rivals = [other for other in claim["over"] if gmac[other] <= gmac[claim["model"]]]
    if not rivals:
        raise Missing(f"none of {', '.join(claim['over'])} costs as little as {claim['model']}")
    return gain({**claim, "over": rivals}, evidence)


def lighter(claim: Claim, evidence: Evidence) -> list[Effect]:
    """`model` takes fewer multiply-adds (10⁹) than each of `over`, by a `part`, clip or tracklet; counted."""
    model, part, effects = claim["model"], claim["part"], []
    gmac = _counted(claim, evidence)[part]
    for other in claim["over"]:
        less = round(gmac[other] - gmac[model], 6)
        what = f"GMAC of a {part}, {other} − {model}, counted"
        effects.append(Effect(what, less, lambda _, less=less: (less, less), seeds=0))
    return effects


def _counted(claim: Claim, evidence: Evidence) -> Mapping[str, Mapping[str, float]]:
    """Of models that are not counted nothing can be said, and so nothing that they might undo."""
    if unknown := [model for model in (claim["model"], *claim["over"]) if model not in evidence.gmac["clip"]]:
        raise Missing(f"no cost of {', '.join(unknown)}")
    return evidence.gmac


def correlated(claim: Claim, evidence: Evidence) -> list[Effect]:
    """Within a person, the distances of attributes and of `model`'s features go together: a mean ρ above 0."""
    found = _within_people(claim["model"], evidence)
    people = pd.DataFrame({seed: own["people"] for seed, own in found.items()}).dropna()  # of whom every seed speaks
    what = f"Spearman's ρ of attribute and feature distance ({claim['model']}), mean over {len(people)} people"
    return [of_values(what, people.to_numpy().T)]


def _within_people(model: str, evidence: Evidence) -> Mapping[int, Mapping[str, Any]]:
    who = (model, evidence.places["home"], evidence.places["home"])
    if who not in evidence.premises:
        raise Missing(f"no premise of {model} tested on {who[2]}")
    return evidence.premises[who]


def dvdp_lower_in_test(claim: Claim, evidence: Evidence) -> list[Effect]:
    """DVDP over all test tracklets of a person is lower with than without, by `model_pairs`, mean over people.

    `relative`: over the mean distance between people in the same test.
    """
    found, relative = [], claim.get("relative", False)
    unit = "over the distance between people" if relative else "cosine distance"
    for without, with_it in claim["model_pairs"]:
        before, after = (_within_people(model, evidence) for model in (without, with_it))
        seeds = common(before, after)
        gaps = [
            pd.DataFrame({s: pd.Series(runs[s]["gaps"]) / (runs[s]["spread"] if relative else 1) for s in seeds})
            for runs in (before, after)
        ]
        people = (gaps[0] - gaps[1]).dropna()
        what = f"test DVDP of {without} − {with_it}, {unit}, mean over {len(people)} people"
        found.append(of_values(what, people.to_numpy().T))
    return found


def attends(claim: Claim, evidence: Evidence) -> list[Effect]:
    """Each stream of `model` attends to the person, and not to what hides them, more than its mean map does, in points.

    A mean map knows where people stand in their frames, and nothing of the picture.
    """
    who = (claim["model"], evidence.places["home"], evidence.places["home"])
    if who not in evidence.focuses:
        raise Missing(f"no attention of {who[0]} on {who[2]} whose targets are known")
    found, runs = [], evidence.focuses[who]
    for stream in next(iter(runs.values())):
        for side, what in (("on", "on the person"), ("off", "off what hides them")):
            tracklets = pd.DataFrame({seed: own[stream][side] for seed, own in runs.items()}).dropna()
            if tracklets.empty:
                continue  # nobody is hidden
            name = f"{stream} attention of {claim['model']} {what}, beyond its mean map, points"
            people, _ = pd.factorize(tracklets.index.str.partition("C").get_level_values(0))  # as in 101C1C3
            effect = of_values(f"{name}, mean over {len(tracklets)} tracklets", tracklets.to_numpy().T, people)
            found.append(replace(effect, queries=0))
    return found


def recognises(claim: Claim, evidence: Evidence) -> list[Effect]:
    """Each of `models` recognises more than who always says an attribute's commonest class: accuracy, in points.

    Of the attributes of a `group`, or of both, but for those of a tracklet's quality. Over seeds alone: of tracklets
    there is no record.
    """
    found = []
    for model in claim["models"]:
        who = evidence.run(model, "home", "home")
        each = [_above_majority(evidence.results[who][seed], claim.get("group")) for seed in evidence.seeds(who)]
        if not all(each):
            raise Missing(f"{model} recognises no attribute")
        names = ", ".join(each[0]) if len(each[0]) < 4 else f"{len(each[0])} attributes"
        better = sum(min(own[name] for own in each) >= 1 for name in each[0])
        what = f"accuracy of {model} − that of the commonest classes, mean over {names}"
        above = np.array([np.mean(list(own.values())) for own in each])
        found.append(of_seeds(f"{what} ({better} better by 1 in every seed), points", above))
    return found


def _above_majority(result: Result, group: str | None) -> dict[str, float]:
    """Accuracy − share of the commonest class of each attribute, in points."""
    groups = [own for name, own in result.attributes.items() if group in (None, name)]
    each = {name: own for attributes in groups for name, own in attributes.items() if name not in QUALITY}
    return {name: 100 * (own["accuracy"] - own["majority"]) for name, own in each.items()}


KINDS: Mapping[str, Callable[[Claim, Evidence], list[Effect]]] = {
    test.__name__: test
    for test in (
        *(gain, order, smaller_gain, decline, frontier, lighter),
        *(dvdp_lower, dvdp_lower_in_test, dvdp_course, correlated, recognises, attends),
    )
}


def _sides(claim: Claim) -> list[list[str]]:
    """[train, test] of a claim, each `home` or `away`."""
    return claim.get("pairs", [["home", "home"]])


def _data(claim: Claim, evidence: Evidence) -> list[str]:
    """The datasets that a claim is tested on, rendered ones marked; of costs, what they are counted with."""
    if claim["kind"] == "lighter":
        return [evidence.scale]
    both = claim["kind"] in ("smaller_gain", "decline")
    sides = evidence.places if both else dict.fromkeys(side for pair in _sides(claim) for side in pair)
    names = [evidence.places[side] for side in sides]
    rendered = {test: result.rendered for (_, _, test), runs in evidence.results.items() for result in runs.values()}
    return [f"{name} (rendered)" if rendered.get(name) else name for name in names]
