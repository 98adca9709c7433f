"""How trials went by the guide's rules: judged again from the records, so that a run of an earlier version has its verdicts too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from ceph_core.config import Config
from ceph_core.metrics import tier_of
from ceph_core.training.health import Finding, Health, findings, judge, names_in
from search.records import Event, Run, TrialHistory, history


@dataclass(frozen=True)
class TrialHealth:
    """One trial as its records tell it: findings that held at its last validation, with advice for its own values."""

    trial: str
    is_baseline: bool
    health: Health

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The serious ones first."""
        return tuple(sorted(self.health.problems, key=lambda finding: finding.level))


def trial_health(run: Run) -> list[TrialHealth]:
    """Every trial that was validated, by number."""
    told = {entry.trial["trial"]: entry for entry in history(run.folder.path)}
    rows = []
    for row in run.trials.to_dict("records"):
        health = _judged(told, row["trial"])
        if health is None:  # tables without their ledger, or a configuration of another version: what was found, without values to set
            found = tuple(replace(finding, advice="") for finding in findings(Config(), names_in(row["health"])))
            health = Health(found, "", tier_of(row["last_mre_mm"], row["val_sdr_2mm"], row["val_sdr_4mm"]))
        if health.tier:
            rows.append(TrialHealth(row["trial"], bool(row["is_baseline"]), health))
    return rows


def _judged(told: Mapping[str, TrialHistory], trial: str) -> Health | None:
    if trial not in told:
        return None
    try:
        config = Config.model_validate(told[trial].trial["config"])
    except ValidationError:
        return None
    reports = _whole_curve(told, trial)
    shapes = [shape for report in reports if (shape := report.get("mean_shape_mm")) is not None]
    return judge(config, reports, shapes[-1] if shapes else None)


def _whole_curve(told: Mapping[str, TrialHistory], trial: str) -> Sequence[Event]:
    """A trial's reports; a confirming run goes on where its candidate stood, and so does its curve."""
    own = told[trial].reports
    candidate = told.get(told[trial].trial.get("candidate") or trial)
    if candidate is None or candidate is told[trial] or not own:
        return own
    return [*(report for report in candidate.reports if report["epoch"] < own[0]["epoch"]), *own]
