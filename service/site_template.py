"""The commented site.toml that `sagittal init` writes."""

from dicom_nodes.types import Node

SITE_TOML = """\
# Sagittal at this site. Every key that is not written here has the default shown in docs/configuration.md.
# Check a changed file with:  sagittal check --site site.toml

[receive]                    # the DICOM node that modalities and the PACS send to
aet = "{aet}"
host = "{host}"              # the address to listen on
port = {port}
# accepted_calling_aets = ["MR1", "PACS"]   # who may send; anybody if absent
# require_called_aet = true                 # reject associations that call another AE title
# other_storage = "accept"                  # objects that are not MR images: "accept" or "refuse"

[assembly]                   # when a series is complete
quiet_seconds = 5.0          # with no other evidence: nothing more came for so long
# quiet_seconds_by_aet = {{ SLOWMR = 30.0 }}
# abandoned_seconds = 300.0  # wait so long for a sender that aborted to come back
# incomplete_seconds = 600.0 # wait so long for instances that the PACS counts and that did not come

# [query]                    # ask this archive how many instances a series has (C-FIND): completes it sooner
# aet = "PACS"
# host = "192.0.2.10"
# port = 104

{destinations}
[models]
weights = "phantom"          # the shipped phantom models, NOT for clinical use; or the folder of installed models
# run = ["mrannotator-*"]    # which sub-models run; `sagittal check` lists them, docs/models.md says what they find
# otherwise = ["mrsegmentator", "totalsegmentator-total-mr"]   # where none of those serves a volume, if installed

# [routing]
# rules = "rules.toml"       # this site's own rules; docs/routing.md says how to write them
# least_confidence = 1.0     # lower it to let a few witnesses be contradicted by the others
# doubtful = "held"          # or "unrouted": where a series ends whose header contradicts itself

# [checks]
# contradiction = "hold"     # or "deliver": a result that contradicts its route, as a spine without vertebrae
# policy = {{ islands = "deliver", leak = "hold" }}   # "deliver", "mark" or "hold" by finding

[storage]
folder = "data"              # received series, results and the ledger; relative to this file
# ledger = "postgresql+psycopg://sagittal@db/sagittal"   # default: SQLite in the folder
# redis = "redis://localhost:6379/0"                     # default: `sagittal up` starts one on loopback

[web]                        # status page and JSON over HTTP
host = "127.0.0.1"
port = {web_port}

[workers]
inference_processes = 1
# threads = 2                # per inference process; default: all cores
# device = "auto"            # "cuda" where a GPU is, else "cpu"
# lease_seconds = 30.0       # a worker that was not heard of for so long has lost its job to another
"""

DESTINATION_TOML = """\
[[destination]]              # results go to each destination; kind = "stow" and url for DICOMweb
name = "{name}"
aet = "{aet}"
host = "{host}"
port = {port}
# outputs = ["seg", "sr", "text"]   # or "auto": the first form that it takes; docs/results.md tells of all
# groups = {{ vertebrae = ["Vertebrae *"] }}   # these structures in an object of their own
# max_frames = 400           # no SEG with more frames than its viewers open
# retry_hours = 72.0         # an unreachable destination is tried for so long
# commitment = "auto"        # ask it to confirm what it stored; "off", or "require" where it has to
# commitment_hours = 24.0    # a confirmation is waited for so long
"""


def site_toml(aet: str, host: str, port: int, web_port: int, send_to: tuple[Node, ...]) -> str:
    """The commented site.toml that `sagittal init` writes."""
    names = [node.aet.lower() for node in send_to]
    destinations = "\n".join(
        DESTINATION_TOML.format(
            name=name if names.count(name) == 1 else f"{name}-{place}", aet=node.aet, host=node.host, port=node.port
        )
        for place, (name, node) in enumerate(zip(names, send_to, strict=True), start=1)
    )
    return SITE_TOML.format(aet=aet, host=host, port=port, web_port=web_port, destinations=destinations)
