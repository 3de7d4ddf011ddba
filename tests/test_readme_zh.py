"""The Chinese README says what the English one says: the same commands, options and files; its Python runs."""

import re
import subprocess
import sys
from pathlib import Path

from penstock.config import parse_config

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = ((ROOT / name).read_text("utf-8") for name in ("README.md", "README.zh.md"))


def fences(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_both_name_the_same_commands_and_options() -> None:
    for pattern in (r"^\| `(penstock [a-z]+)", r"(--[a-z]+(?:-[a-z]+)*)", r"^\s*\$ (.*)$"):
        english, chinese = (set(re.findall(pattern, text, re.MULTILINE)) for text in (ENGLISH, CHINESE))
        assert chinese
        assert chinese <= english, pattern
    commands = [set(re.findall(r"^\| `penstock ([a-z]+)", text, re.MULTILINE)) for text in (ENGLISH, CHINESE)]
    assert commands[0] == commands[1]


def test_pipeline_files_of_both_are_the_same() -> None:
    assert fences(CHINESE, "yaml") == fences(ENGLISH, "yaml")
    for text in fences(CHINESE, "yaml"):
        assert parse_config(text, "README.zh.md") == parse_config(text, "README.md")


def test_the_python_of_the_chinese_readme_runs(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (code,) = fences(CHINESE, "python")
    (tmp_path / "snippet.py").write_text(code, "utf-8")
    done = subprocess.run([sys.executable, "snippet.py"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert float(done.stdout) > 0.9
    assert (tmp_path / "zh-out").is_dir()


def test_each_leads_to_the_other() -> None:
    assert "(README.zh.md)" in ENGLISH
    assert "(README.md)" in CHINESE
