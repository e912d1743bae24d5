"""The clues of a volume in; out: sequence, inversion, weighting, fat and contrast medium, each with its evidence.

Attributes come first: the names of pulse sequences and what the standard says of the echoes, then times and angles.
A description refines what they leave open, and decides where they are silent; it never overrules them.
"""

from collections.abc import Sequence

from service.routing.signs import Clues, Found, KindWords, Sign, by_tags, by_words, first_sign

SPIN, GRADIENT, PLANAR = "spin echo", "gradient echo", "echo planar"
FAMILY = {
    "SE": SPIN, "TSE": SPIN, "HASTE": SPIN,
    "GRE": GRADIENT, "VIBE": GRADIENT, "MPRAGE": GRADIENT, "bSSFP": GRADIENT,
    "EPI": PLANAR,
}  # fmt: skip
"""Every sequence that has a name here, and the family that the attributes tell apart."""
FAMILY_NAMES = ("SE", "TSE", "GRE")
"""Those that a pulse sequence may be called although it is one of the others, as Philips calls single shots TSE."""

STIR_MS, FLAIR_MS = (60.0, 350.0), 1500.0
"""Fat is nulled at 80 to 110 ms (0.2 T) up to 250 ms (3 T); fluid above 1,500 ms."""
T2_TE_MS, PD_TE_MS, SHORT_TE_MS = 70.0, 55.0, 30.0
"""Spin echo: above the first it is T2; between, T2 or PD, the second parting them; below the last T1 or PD."""
T1_TR_MS, LONG_TR_MS = 1000.0, 1800.0
"""Spin echo: below the first it is T1, above the second it is not; respiratory triggering lies between."""
T2STAR_TE_MS, T1_TE_MS, SPOILED_3D_TR_MS, T1_FLIP_DEGREES = 12.0, 8.0, 25.0, 8.0


def sequence_of(clues: Clues, words: KindWords) -> Found | None:
    """The sequence: by the name of the pulse sequence or else its family; words and times may narrow these down."""
    named, spoken, family = by_tags(clues, *words.sequence), by_words(clues, *words.sequence), _family(clues)
    if named and family and FAMILY[named.name] != family.name:
        named = None
    if family is None and named:
        family = Found(FAMILY[named.name], named.why)
    if family is None or family.name == PLANAR:
        return Found("EPI", family.why) if family else spoken
    narrower = Found(spoken.name, f"{spoken.why}, and {family.why}") if spoken else None
    usual = _usual(clues, family)
    for found in (named, narrower, usual):
        if found and found.name not in FAMILY_NAMES and FAMILY[found.name] == family.name:
            return found
    return named or usual


def _family(clues: Clues) -> Found | None:
    """Spin echo, gradient echo or echo planar, by what the standard says of it."""
    if "YES" in clues.values("EchoPlanarPulseSequence"):
        return Found(PLANAR, "EchoPlanarPulseSequence YES")
    scanning, echoes = clues.values("ScanningSequence"), clues.said("EchoPulseSequence")
    for values, family in (("EP", PLANAR), ("GR", GRADIENT), ("SE", SPIN)):
        if values in scanning:
            return Found(family, f"ScanningSequence {clues.said('ScanningSequence')}")
    if enhanced := {"SPIN": SPIN, "GRADIENT": GRADIENT, "BOTH": SPIN}.get(echoes.upper()):
        return Found(enhanced, f"EchoPulseSequence {echoes}")
    if "IR" in scanning:
        return Found(SPIN, "ScanningSequence IR")
    return None


def _usual(clues: Clues, family: Found) -> Found:
    """The commonest sequence of the family with these times and angles."""
    if family.name == SPIN:
        return _usual_spin(clues, family)
    repetition, flip = clues.number("RepetitionTime"), clues.number("FlipAngle") or 0
    inversion, variant = clues.number("InversionTime") or 0, clues.values("SequenceVariant")
    volumetric = "3D" in clues.values("MRAcquisitionType")
    short = repetition is not None and repetition < SPOILED_3D_TR_MS
    if volumetric and 400 <= inversion < FLAIR_MS:
        return Found("MPRAGE", f"3D {family.why} and InversionTime {inversion:g} ms")
    if short and "SS" in variant and "SP" not in variant and flip >= 35 and (repetition or 0) < 10:
        return Found("bSSFP", f"{family.why}, steady state, RepetitionTime {repetition:g} ms, FlipAngle {flip:g}")
    if volumetric and short and _echo(clues) < T1_TE_MS and ("SP" in variant or "SS" not in variant):
        return Found("VIBE", f"3D {family.why} and RepetitionTime {repetition:g} ms")
    return Found("GRE", family.why)


def _usual_spin(clues: Clues, family: Found) -> Found:
    """Several echoes per excitation, as the train says, or where it says nothing the variant and the echo time."""
    train = clues.number("EchoTrainLength")
    if train is not None:
        return Found("TSE" if train > 1 else "SE", f"{family.why} and EchoTrainLength {train:g}")
    if "SK" in clues.values("SequenceVariant") or _echo(clues) >= T2_TE_MS:
        return Found("TSE", f"{family.why}, segmented or with a long echo time")
    return Found("SE", family.why)


def inversion_of(clues: Clues, words: KindWords, sequence: str) -> Found | None:
    """STIR or FLAIR (dark fluid); a T1 FLAIR and prepared gradient echoes are neither."""
    if named := by_tags(clues, *words.inversion):
        return named
    if FAMILY.get(sequence, SPIN) != SPIN:
        return None
    if timed := _by_inversion_time(clues, words):
        return timed if timed.name else None
    spoken = by_words(clues, *words.inversion)
    weighted = _spoken(clues, words.weighting)
    bright = _echo(clues, 999) <= SHORT_TE_MS or (weighted is not None and weighted.name == "T1")
    return None if spoken and spoken.name == "FLAIR" and bright else spoken


def _by_inversion_time(clues: Clues, words: KindWords) -> Found | None:
    """What the inversion time says, with an empty name for neither; nothing where none is stated."""
    inversion, scanning = clues.number("InversionTime") or 0, clues.values("ScanningSequence")
    if not inversion or not ("IR" in scanning or not scanning or "YES" in clues.values("InversionRecovery")):
        return None
    why = f"InversionTime {inversion:g} ms"
    if STIR_MS[0] <= inversion <= STIR_MS[1]:
        return Found("" if _selective(clues, words) else "STIR", why)
    if inversion >= FLAIR_MS:
        return Found("FLAIR", why) if _echo(clues, 999) > SHORT_TE_MS else None
    return Found("", why) if inversion > STIR_MS[1] else None


def _selective(clues: Clues, words: KindWords) -> bool:
    """A spectrally selective inversion, as SPAIR, has an inversion time too; only words tell."""
    return by_words(clues, *words.fat) is not None and by_words(clues, *words.inversion) is None


def weighting_of(clues: Clues, words: KindWords, sequence: str, inversion: str) -> Found | None:
    """The weighting: what times and angles allow, chosen among by AcquisitionContrast, then by words."""
    allowed, why = _allowed(clues, sequence, inversion)
    stated, spoken = by_tags(clues, *words.weighting), _spoken(clues, words.weighting)
    for found in (stated, spoken):
        if found and (not allowed or found.name in allowed):
            return found if not allowed or len(allowed) > 1 else Found(found.name, f"{found.why}; {why}")
    if not allowed:
        return None
    against = [found.why for found in (stated, spoken) if found]
    return Found(allowed[0], "; but ".join([why, *against]))


def _spoken(clues: Clues, signs: Sequence[Sign]) -> Found | None:
    """What words say; two in one text, as "pd+t2", say nothing, but "t2 trufi" is precise."""
    for text in clues.series_texts:
        alone = Clues({}, (text,), ())
        found = [each for sign in signs if (each := by_words(alone, sign))]
        if found and (found[0].name in ("T2/T1", "T2*") or len({each.name for each in found}) == 1):
            return found[0]
        if found:
            return None
    return None


def _allowed(clues: Clues, sequence: str, inversion: str) -> tuple[tuple[str, ...], str]:
    """The weightings that sequence, times and angles allow, the likeliest first; none where they do not tell."""
    by_itself = {"bSSFP": ("T2/T1",), "MPRAGE": ("T1",)}.get(sequence)
    if by_itself:
        return by_itself, f"a sequence of the kind {sequence}"
    echo, repetition = clues.number("EchoTime"), clues.number("RepetitionTime")
    family = FAMILY.get(sequence) or _family_by_times(echo, repetition)
    times = (
        f"EchoTime {clues.said('EchoTime')} ms and RepetitionTime {clues.said('RepetitionTime')} ms of a {family}"
    )
    allowed: tuple[str, ...] = ()
    if echo is not None and family == SPIN:
        allowed = _spin(echo, repetition, inversion, sequence)
    elif echo is not None and family == GRADIENT:
        allowed = _gradient(clues, echo, repetition, sequence)
    if allowed:
        return allowed, times
    usual = {"STIR": ("T2", "PD", "T1"), "FLAIR": ("T2",), "HASTE": ("T2", "T1"), "VIBE": ("T1", "PD", "T2/T1")}
    name = inversion or (sequence if clues.number("FlipAngle") is None else "")
    return usual.get(name, ()), f"what {name} usually is"


def _family_by_times(echo: float | None, repetition: float | None) -> str:
    """What a sequence without a name can only be: so long, or so short, is one of the families alone."""
    if echo is None or repetition is None:
        return ""
    return SPIN if repetition >= LONG_TR_MS else GRADIENT if repetition < SPOILED_3D_TR_MS else ""


def _spin(echo: float, repetition: float | None, inversion: str, sequence: str) -> tuple[str, ...]:
    if inversion == "STIR":
        return ("T2", "PD", "T1")
    if echo >= T2_TE_MS or inversion == "FLAIR" or (sequence == "HASTE" and echo > SHORT_TE_MS):
        return ("T2",)
    if repetition is None:
        return ()
    if echo > SHORT_TE_MS:
        long_echo = ("T2", "PD") if echo >= PD_TE_MS else ("PD", "T2")
        return ("T1",) if repetition < T1_TR_MS and echo <= PD_TE_MS else long_echo
    for below, allowed in ((T1_TR_MS, ("T1",)), (LONG_TR_MS, ("T1", "PD")), (2 * LONG_TR_MS, ("PD", "T1"))):
        if repetition < below:
            return allowed
    return ("PD",)


def _gradient(clues: Clues, echo: float, repetition: float | None, sequence: str) -> tuple[str, ...]:
    flip = clues.number("FlipAngle")
    if echo >= T2STAR_TE_MS:
        return ("T2*", "T2/T1", "PD")
    if repetition is None or flip is None:
        return ("T1", "PD", "T2/T1") if sequence == "VIBE" else ()
    steady = "SS" in clues.values("SequenceVariant") and "SP" not in clues.values("SequenceVariant")
    if echo <= T1_TE_MS and not steady and flip >= T1_FLIP_DEGREES and repetition < SPOILED_3D_TR_MS:
        return ("T1", "PD", "T2/T1")
    if echo <= T1_TE_MS and not steady and flip >= 40 and repetition < T1_TR_MS:
        return ("T1",)
    return ()


def fat_of(clues: Clues, words: KindWords) -> Found | None:
    """The part of a fat-water separation, or that fat is suppressed."""
    if part := clues.said("DixonPart").lower():
        return Found(part, f'DixonPart is "{part}"')
    parts = [sign for sign in words.fat if sign.name != "suppressed"]
    if found := by_tags(clues, *parts) or _suffix(clues, words) or by_words(clues, *parts):
        return found
    return first_sign(clues, [sign for sign in words.fat if sign.name == "suppressed"])


def _suffix(clues: Clues, words: KindWords) -> Found | None:
    """The part that the last such word of a description names, where it speaks of a separation."""
    for keyword, said, plain in clues.series_texts:
        if by_words(Clues({}, ((keyword, said, plain),), ()), Sign(name="Dixon", words=words.dixon.marks)):
            for word in reversed(plain.split()):
                if part := words.dixon.parts.get(word):
                    return Found(part, f'{keyword} "{said}" has "{word}"')
    return None


def contrast_of(clues: Clues, words: KindWords) -> Found | None:
    """Whether it was taken after contrast medium; nothing where the agent and the words disagree."""
    spoken = by_words(clues, *words.contrast)
    stated = by_tags(clues, *words.contrast)
    for keyword in ("ContrastBolusAgent", "ContrastBolusAgentSequence"):
        if not stated and (agent := clues.said(keyword)):
            stated = Found("post-contrast", f'{keyword} is "{agent}"')
    if stated and spoken and stated.name != spoken.name:
        return Found("", f"{stated.why}, but {spoken.why}")
    return stated or spoken


def _echo(clues: Clues, absent: float = 0.0) -> float:
    found = clues.number("EchoTime")
    return absent if found is None else found
