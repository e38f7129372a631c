"""What docs/service.md shows is run as it stands, against a server: every block of the shell."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from service.serving import ended, png
from stylogram.service.app import _WORDS

TEXT = (Path(__file__).parents[2] / "docs" / "service.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
ASKS = [block for block in BLOCKS if block.startswith("curl")]


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("base64"), reason="needs curl and base64")
def test_what_the_page_asks(server, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(png())
    (tmp_path / "painting.jpg").write_bytes(png(40, 40, 2))
    job = ""

    def shell(text):
        text = text.replace("http://127.0.0.1:8000", server.url).replace("size=384", "size=32").replace("=150", "=3")
        made = subprocess.run(
            ["bash", "-ec", text],
            cwd=tmp_path,
            env={**os.environ, "JOB": job},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert made.returncode == 0, made.stderr
        assert '"error":"' not in made.stdout, made.stdout
        return made.stdout

    first, several, in_json = ASKS
    shell(first)
    job = server.client.get("/v1/jobs").json()["jobs"][0]["id"]
    assert ended(server.client, {"id": job})["state"] == "done"
    said = shell(several)
    assert "event: progress" in said
    assert "openapi" in said
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert server.client.get(f"/v1/jobs/{job}").status_code == 404  # DELETE removed what was done
    shell(in_json)
    made = server.client.get("/v1/jobs").json()["jobs"][0]
    assert (made["task"], ended(server.client, made)["state"]) == ("texture", "done")


def test_the_options_of_serve_that_it_names_are_there():
    from stylogram.commands.serve import command

    known = {name for option in command.params for name in option.opts}
    named = set(re.findall(r"`(--[a-z-]+)", TEXT.partition("## Docker")[0]))
    assert named <= known
    assert len(named) >= 12


def test_the_table_of_statuses_is_whole():
    rows = re.findall(r"^\| ([\d, ]+) \|", TEXT, re.MULTILINE)
    assert sorted(int(status) for row in rows for status in row.split(", ")) == sorted(_WORDS)
