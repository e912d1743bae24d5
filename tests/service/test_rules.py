"""Rules of a site: read whole or refused with line and key; asked in order; what each condition means."""

from datetime import datetime
from pathlib import Path

import pytest

from dicom_nodes.errors import ConfigurationError
from dicom_nodes.types import Laterality, Volume
from service.jobs import Urgency
from service.routing.route import RouteDecision, decide
from service.routing.rules import Rule
from service.routing.settings import Routing
from service.routing.site import read_site_rules
from service.submodel import load_submodels
from tests.service.test_route import GEOMETRY, make_volume

SUBMODELS = load_submodels()
T2 = {"ScanningSequence": "SE", "SequenceName": "*tse2d1_17", "EchoTime": "101", "RepetitionTime": "4000"}
NOON = datetime(2026, 3, 1, 12, 0)  # noqa: DTZ001  # a site's local time


def rules_of(tmp_path: Path, text: str) -> tuple[Rule, ...]:
    path = tmp_path / "rules.toml"
    path.write_text(text, encoding="utf-8")
    return read_site_rules(path, SUBMODELS)


def lumbar(**facts: str) -> Volume:
    return make_volume(*GEOMETRY["lumbar"], {"BodyPartExamined": "LSPINE", **T2, **facts})


def decided(
    tmp_path: Path, text: str, volume: Volume, *, calling_aet: str = "MR1", at: datetime = NOON
) -> RouteDecision:
    routing = Routing(SUBMODELS, otherwise=(), rules=rules_of(tmp_path, text))
    return decide(volume, routing, calling_aet=calling_aet, at=at)


def skipping(condition: str) -> str:
    return f'[[rule]]\nname = "x"\nskip = "because"\n[rule.when]\n{condition}\n'


CONDITIONS = [
    # a condition, whether the lumbar volume below fulfils it
    ('body_part = "lumbar"', True),
    ('body_part = ["knee", "lumbar"]', True),
    ('body_part = "knee"', False),
    ('plane = "sagittal"', True),
    ('plane = ["axial", "coronal"]', False),
    ('kind = "T2"', True),
    ('kind = ["T2", "not fat suppressed"]', True),
    ('kind = "T1"', False),
    ('kind = "not T2"', False),
    ("slices = { least = 17, most = 17 }", True),
    ("slices = { least = 18 }", False),
    ("pitch_mm = { most = 4.5 }", True),
    ("across_mm = { least = 80 }", False),
    ("in_plane_mm = { least = 290, most = 310 }", True),
    ("pixel_mm = { most = 1.0 }", False),
    ("oblique_degrees = { most = 5 }", True),
    ('calling_aet = "MR*"', True),
    ('calling_aet = ["CT1", "PACS"]', False),
    ('station = "MRC3*"', True),
    ('station = "mrc3509?"', True),
    ('station = "OTHER"', False),
    ('hours = { since = "07:00", until = "18:00" }', True),
    ('hours = { since = "18:00", until = "07:00" }', False),
    ('tag = { SeriesDescription = "*lws*" }', True),
    ('tag = { SeriesDescription = "lws" }', False),
    ('tag = { ImageType = "NORM" }', True),
    ("tag = { EchoTime = { least = 80, most = 130 } }", True),
    ("tag = { EchoTime = { most = 80 } }", False),
    ("tag = { FlipAngle = { least = 1 } }", False),
    ('tag = { Manufacturer = ["GE*", "siemens*"] }', True),
    ('words = "lws"', True),
    ('words = "hws"', False),
    ('without_words = ["hws", "bws"]', True),
    ('without_words = "lws"', False),
    ('all = [{ plane = "sagittal" }, { kind = "T2" }]', True),
    ('all = [{ plane = "sagittal" }, { kind = "T1" }]', False),
    ('any = [{ plane = "axial" }, { kind = "T2" }]', True),
    ('any = [{ plane = "axial" }, { kind = "T1" }]', False),
    ('not = { plane = "axial" }', True),
    ('not = { all = [{ plane = "sagittal" }, { kind = "T2" }] }', False),
    ('plane = "sagittal"\nany = [{ kind = "T1" }, { not = { body_part = "knee" } }]', True),
]


@pytest.mark.parametrize(("condition", "holds"), CONDITIONS)
def test_a_rule_matches_where_its_condition_holds(tmp_path: Path, condition: str, holds: bool) -> None:
    volume = lumbar(
        SeriesDescription="t2_tse_sag_LWS", StationName="MRC35091", ImageType="ORIGINAL\\PRIMARY\\M\\NORM",
        Manufacturer="SIEMENS",
    )  # fmt: skip
    decision = decided(tmp_path, skipping(condition), volume)
    assert (decision.summary == 'rule "x": because') is holds, "\n".join(decision.reasons)
    (tried,) = [each for each in decision.tried if each.rule == "x"]
    assert (tried.failed == "") is holds


def test_hours_over_midnight_hold_at_night(tmp_path: Path) -> None:
    text = skipping('hours = { since = "18:00", until = "07:00" }')
    night = decided(tmp_path, text, lumbar(), at=datetime(2026, 3, 1, 23, 30))  # noqa: DTZ001
    morning = decided(tmp_path, text, lumbar(), at=datetime(2026, 3, 1, 7, 0))  # noqa: DTZ001
    assert (night.routes, len(morning.routes)) == ((), 1)


def test_a_rule_runs_other_sub_models_several_at_once_and_with_the_side(tmp_path: Path) -> None:
    text = """
    [[rule]]
    name = "knees for research too"
    when = { body_part = "knee" }
    run = ["mrannotator-shoulder-knee", "totalsegmentator-appendicular-bones-mr: knee"]
    """
    volume = make_volume(*GEOMETRY["knee"], {"BodyPartExamined": "KNEE", "Laterality": "L"})
    decision = decided(tmp_path, text, volume)
    assert [(route.submodel, route.protocol, route.laterality) for route in decision.routes] == [
        ("mrannotator-shoulder-knee", "knee", Laterality.LEFT),
        ("totalsegmentator-appendicular-bones-mr", "knee", Laterality.LEFT),
    ]
    assert "knees for research too: matched" in decision.reasons


def test_the_greater_priority_is_asked_first_and_the_first_that_decides_ends_it(tmp_path: Path) -> None:
    text = """
    [[rule]]
    name = "second"
    skip = "second"
    [[rule]]
    name = "first"
    priority = 5
    hold = "first"
    """
    decision = decided(tmp_path, text, lumbar())
    assert (decision.summary, decision.doubtful) == ('rule "first": first', True)
    assert [each.rule for each in decision.tried] == ["first"]


def test_a_rule_of_urgency_alone_lets_the_next_ones_decide(tmp_path: Path) -> None:
    text = """
    [[rule]]
    name = "emergency room"
    when = { calling_aet = "MR_ED" }
    urgency = "stat"
    """
    stat, routine = (decided(tmp_path, text, lumbar(), calling_aet=aet) for aet in ("MR_ED", "MR1"))
    assert (stat.urgency, routine.urgency) == (Urgency.STAT, Urgency.ROUTINE)
    assert stat.routes == routine.routes != ()


@pytest.mark.parametrize(
    ("stated", "urgency"), [("STAT", Urgency.STAT), ("HIGH", Urgency.HIGH), ("LOW", Urgency.ROUTINE)]
)
def test_the_requested_procedures_priority_is_the_urgency(stated: str, urgency: Urgency) -> None:
    decision = decide(lumbar(RequestedProcedurePriority=stated), Routing(SUBMODELS))
    assert decision.urgency is urgency


def test_a_rule_may_run_what_the_protocols_would_not(tmp_path: Path) -> None:
    text = """
    [[rule]]
    name = "our axial spines"
    when = { body_part = "lumbar", plane = "axial" }
    run = "mrannotator-spine: lumbar"
    """
    volume = make_volume("axial", 30, 4.0, 200, {"BodyPartExamined": "LSPINE", **T2})
    assert decide(volume, Routing(SUBMODELS, otherwise=())).routes == ()
    (route,) = decided(tmp_path, text, volume).routes
    assert (route.submodel, route.protocol) == ("mrannotator-spine", "lumbar")


def test_a_rule_that_wants_what_is_not_installed_says_so(tmp_path: Path) -> None:
    text = '[[rule]]\nname = "amos"\nrun = "amos: abdomen"\n'
    routing = Routing(SUBMODELS, rules=rules_of(tmp_path, text), able=frozenset({"mrannotator-abdomen"}))
    assert 'rule "amos" wants amos, and its weights are not installed' in decide(lumbar(), routing).summary


X = '[[rule]]\nname = "x"\n'
BROKEN = [
    # text, line, words of the error
    (
        X + 'run = "mrannotator-knee"\n',
        3,
        ["rule.1.run", "'mrannotator-knee'", "mrannotator-spine"],
    ),
    (
        X + 'run = "mrannotator-spine: knee"\n',
        3,
        ["no protocol 'knee'", "cervical, lumbar, thoracic"],
    ),
    (X + 'skip = "y"\nhold = "z"\n', 1, ["skip and hold", "one of run, skip and hold"]),
    (X, 1, ["nothing follows", "run, skip, hold and urgency"]),
    (X + 'skip = "y"\ncolour = "red"\n', 4, ["colour", "not a known key", "priority"]),
    (
        X + 'skip = "y"\n\n[rule.when]\nplane = "diagonal"\n',
        6,
        ["plane", "'axial'", "'diagonal'"],
    ),
    (X + 'skip = "y"\n\n[rule.when]\nno = "T9"\n', 6, ["rule.1.when.no", "known: all, any, not, body_part"]),
    (X + 'skip = "y"\n\n[rule.when]\nkind = "T9"\n', 6, ["'T9' is no kind", "STIR"]),
    (X + 'skip = "y"\n\n[rule.when]\nbody_part = "elbo"\n', 6, ["'elbo'", "elbow"]),
    (
        X + 'skip = "y"\n[rule.when]\ntag = { PatientName = "*" }\n',
        5,
        ["'PatientName'", "EchoTime"],
    ),
    (X + 'skip = "y"\n[rule.when]\nslices = { least = 9, most = 3 }\n', 5, ["greater than most"]),
    (X + 'skip = "y"\n[rule.when]\nhours = { since = "7", until = "9" }\n', 5, ["hours"]),
    (X + 'skip = "y"\nbest = ["prettiest"]\n', 4, ["'prettiest' is no order", "most slices"]),
    (X + 'skip = "y"\none_per = "patient"\n', 4, ["one_per", "'study'"]),
    (X + 'skip = "y"\n[[rule]]\nname = "x"\nskip = "y"\n', 5, ["'x' stands twice"]),
    (X + 'urgency = "now"\n', 3, ["urgency", "'stat'"]),
    ('[[rule]\nname = "x"\n', 1, ["not valid TOML"]),
]


@pytest.mark.parametrize(("text", "line", "words"), BROKEN)
def test_a_wrong_rule_is_refused_with_file_line_key_and_what_is_allowed(
    tmp_path: Path, text: str, line: int, words: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        rules_of(tmp_path, text)
    said = str(caught.value)
    assert said.startswith(str(tmp_path / "rules.toml"))
    assert f"line {line}" in said, said
    assert all(word in said for word in words), said


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    text = X + 'run = "nobody"\n[[rule]]\nname = "y"\nskip = "z"\n[rule.when]\nbody_part = "tail"\n'
    with pytest.raises(ConfigurationError) as caught:
        rules_of(tmp_path, text)
    assert len(str(caught.value).splitlines()) == 2


def test_nothing_in_a_rule_is_evaluated(tmp_path: Path) -> None:
    text = skipping("""tag = { SeriesDescription = "__import__('os').abort()" }""")
    assert decided(tmp_path, text, lumbar(SeriesDescription="t2 sag")).routes


def test_a_kind_that_is_not_for_segmentation_runs_only_where_a_rule_says_so(tmp_path: Path) -> None:
    adc = lumbar(ImageType="DERIVED\\PRIMARY\\DIFFUSION\\ADC")
    assert decide(adc, Routing(SUBMODELS)).routes == ()
    text = '[[rule]]\nname = "maps"\nwhen = { kind = "diffusion map" }\nrun = "mrannotator-spine: lumbar"\n'
    assert len(decided(tmp_path, text, adc).routes) == 1
