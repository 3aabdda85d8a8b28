import json
import os
import subprocess
import sys

from tests.flows.conftest import ROOT, Server

INGEST = """
import sys
from pathlib import Path
from flows.ingest import ingest
from ploutos.market import IngestConfig
from ploutos.market.config import FilesSource, QualityConfig

source = FilesSource(folder=Path(sys.argv[1]))
config = IngestConfig(source=source, quality=QualityConfig(max_quarantined_share=0.5))
print("snapshot", ingest(config))
"""
ROWS = ("2012-11-19,10,12,9,11,1000", "2012-11-20,11,13,10,12,0", "2012-11-21,12,14,11,13,1000")


def test_the_flow_shows_what_was_set_aside_and_why(server: Server, tmp_path):
    lines = "\n".join(["date,open,high,low,close,volume", *ROWS])
    (tmp_path / "AAA.csv").write_text(lines + "\n")
    done = subprocess.run(
        [sys.executable, "-c", INGEST, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PLOUTOS_HOME": str(server.home), "PREFECT_API_URL": server.api_url},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert "snapshot" in done.stdout, done.stderr
    found = server.post("/artifacts/latest/filter").json()
    tables = {one["key"]: json.loads(one["data"]) for one in found if one["type"] == "table"}
    (row,) = tables["quarantine"]
    assert (row["symbol"], row["stamp"]) == ("AAA", "2012-11-20 21:00:00+00:00")
    assert row["reason"] == "no volume: nothing was traded at these prices"
    (counted,) = tables["quality"]
    assert (counted["bars"], counted["missing"], counted["quarantined"]) == ("2", "1", "1")
    facts = {fact["what"]: fact["value"] for fact in tables["snapshot"]}
    assert "biased upwards" in facts["survivorship"]
