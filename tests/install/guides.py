"""The guides stay true: their commands are read from docs/*.md and run as a reader would run them, with the installed program.

guides.py BUILD REPO check: no driver is there, so a command that needs a device ends before it computes, but a command or an
option that does not exist is an error of use. What needs no device is run, and its output compared with that of the guide.
guides.py BUILD REPO run: runs the commands with PoCL, and the Python texts of the guides with the clients. Those that would
take long are shortened (CHANGES). It exits with 77 if the model is missing."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

BUILD, REPO, MODE = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3]
MODEL = os.environ.get("EVENER_TEST_MODEL", "")
SHIPPED = "models/smollm2-135m-instruct-q4_1.gguf"
LIMIT_S = 600

# Commands that neither mode runs, and why.
ELSEWHERE = [
    (r"sudo |apt-get|ssh|cpack", "installs packages"),
    (r"^cmake |^ninja|ctest", "builds: scripts/test does so"),
    (r"^scripts/(demo|test|fetch|gpu-check|fuzz)|^bench/|^tests/", "long, or needs a network"),
    (r"^(srun|#SBATCH|#!)", "needs Slurm"),
]
# Where a device computes, commands are shortened, and made to depend on nothing but the guide.
CHANGES = [
    (r"^(evener train configs/train-byte-gpt\S*)", r"\1 --steps 2 --sequences 2"),
    (r"^(evener train configs/lora-smollm2\S*)", r"\1 --steps 1 --sequences 1"),
    (r"^(evener train (?!configs).*)", r"\1 --steps 1 --sequences 1 -c 32"),
    (r"^evener tune(?!.*--budget)", "evener tune --budget 5s"),
    (r"--budget \S+", "--budget 5s"),
    (r"^(evener run.* -n )(64|128|200)\b", r"\g<1>24"),
    (r"^(evener serve)", r"\1 --port 0"),
    (r"(--temp 0\b)", r"\1 --activations f32"),  # with 8 bits near ties depend on the plan
]
# These run in the first mode, too.
HOST_ONLY = r"^evener (inspect|tokenize|config|quantize|help)\b|^evener \S+ --help|^evener plan.*--simulate|^scripts/make-model|^head .*\.txt$"
# What a device prints, and is the same on each.
SAME_EVERYWHERE = r"--temp 0\b|^evener logits configs/simple-lm"
# What only commands make that compute on a device.
MADE = ("risk.gguf", "models/byte-gpt.gguf", "models/austen.gguf", "trace.json")
# Models of the guides that are not here.
ABSENT = r"t5-small\.gguf|strange\.gguf|\bfolder\b|vit-base-patch16-224|\bwide\b|\bshapes\.csv"
LETTER = "Dear friend,\nthe bridge is open. Come and see it!\n\nYours, Anne\n"
QUESTION = '{"custom_id": "bridge-%d", "question": "%s", "context": "The bridge over the Tamar was designed by Brunel and opened in 1859. It carries a railway."}\n'
SCHEMA = '{"type": "object", "properties": {"subject": {"type": "string", "maxLength": 20}, "mood": {"enum": ["good", "bad"]}}, "required": ["subject", "mood"]}\n'


def blocks(text):
    """The language of what is set as code ("" where it is indented), its lines, and the file that was named last before it."""
    block, fence, before_blank, file = [], None, True, ""
    for line in text.splitlines() + [""]:
        if fence is not None:
            if line.startswith("```"):
                yield fence, block, file
                block, fence = [], None
            else:
                block.append(line)
        elif line.startswith("```"):
            fence = line[3:].strip()
        elif line.startswith("    ") and (block or before_blank) or block and not line.strip():
            block.append(line[4:])
        elif block:
            yield "", block, file
            block = []
        for file in re.findall(r"`([a-z]+\.(?:json|gbnf|yaml))`", line):
            pass
        before_blank = not line.strip()
    if block:
        yield "", block, file


def is_open(command):
    """A quote or a backslash goes on in the next line."""
    return command.endswith("\\") or subprocess.run(["bash", "-n", "-c", command], capture_output=True).returncode != 0


def commands(block):
    """(command, lines of its output) of a block: lines that begin with $, or with evener where none has a $."""
    block = [line[4:] if line.startswith("    ") and line.strip().startswith(("evener ", "mpirun ")) else line for line in block]
    has_prompt = any(line.startswith("$ ") for line in block)
    found, i = [], 0
    while i < len(block):
        line = block[i]
        i += 1
        is_command = line.startswith("$ ") if has_prompt else re.match(r"(build/release/)?evener |scripts/|bench/|mpirun ", line)
        if not is_command:
            if found and has_prompt:
                found[-1][1].append(line)
            continue
        command = line[2:] if has_prompt else line
        while is_open(command) and i < len(block):
            command += "\n" + block[i]
            i += 1
        found.append((command.replace("build/release/evener", "evener"), []))
    return found


class Reader:
    """Somebody in a checkout with the installed program on the path."""

    def __init__(self, folder):
        self.folder, self.failures, self.skipped, self.n_run = folder, [], [], 0
        subprocess.run(["cmake", "--install", BUILD, "--prefix", folder / "prefix"], check=True, stdout=subprocess.DEVNULL)
        self.place = folder / "checkout"
        (self.place / "models").mkdir(parents=True)
        for name in ("configs", "tests/data", "scripts", "kernels"):
            shutil.copytree(REPO / name, self.place / name, ignore=shutil.ignore_patterns("__pycache__"))
        os.symlink(MODEL, self.place / SHIPPED)
        for name in ("MODEL", "model.gguf", "big.gguf", "small.gguf", "model-f32.gguf", "model-q4_1.gguf"):
            os.symlink(MODEL, self.place / name)
        if (REPO / "models/all-minilm-l6-v2").exists():
            os.symlink((REPO / "models/all-minilm-l6-v2").resolve(), self.place / "models/all-minilm-l6-v2")
            os.symlink((REPO / "models/all-minilm-l6-v2").resolve(), self.place / "bert.gguf")
        self.write_inputs()
        vendors = folder / "vendors"
        vendors.mkdir()
        source = pathlib.Path(os.environ.get("OCL_ICD_VENDORS", "/etc/OpenCL/vendors")) / "pocl.icd"
        if MODE == "run":
            if not source.exists():
                sys.exit(skip("PoCL is not installed"))
            shutil.copy(source, vendors)
        self.environment = {**os.environ, "PATH": f"{folder}/prefix/bin:{os.environ['PATH']}", "OCL_ICD_VENDORS": str(vendors),
                            "LD_LIBRARY_PATH": f"{folder}/prefix/lib", "EVENER_LOG": "warn", "HOME": str(folder), "XDG_STATE_HOME": str(folder),
                            "PYTHONPATH": os.environ.get("EVENER_CLIENTS_DIR", ""), "PYTHONDONTWRITEBYTECODE": "1"}
        self.server, self.url, self.first_server = None, "", ""

    def write_inputs(self):
        records = (REPO / "configs/classify-risk.csv").read_text().splitlines()
        novel = (REPO / "tests/data/persuasion-20k.txt").read_text()
        questions = ("Who designed the bridge?", "When was the bridge opened?", "What does the bridge carry?")
        for name, text in {
            "letter.txt": LETTER, "chapter.txt": novel[:2000], "book.txt": novel[:5000], "text.txt": novel[:20000], "my.txt": novel[:20000],
            "prompt.txt": "Once upon a time\n", "reviews.txt": "Great food, great people.\nDirty, loud and expensive.\n",
            "questions.jsonl": "".join(QUESTION % (i + 1, q) for i, q in enumerate(questions)), "new.csv": "\n".join(records[:3]) + "\n",
            "review.json": SCHEMA,
            "m.yaml": f"version: 1\nmodel: {{path: {SHIPPED}}}\nrun: {{prompt: Hello}}\n", "hosts": "localhost\n",
        }.items():
            (self.place / name).write_text(text)

    def bash(self, command, **options):
        return subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=self.place, env=self.environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=LIMIT_S, **options)

    def fail(self, guide, command, why):
        self.failures.append(f"{guide}: {command}\n    {why}")

    def compare(self, guide, command, shown, printed):
        """… in a guide stands for anything, a whole line of it for any lines."""
        text = "\n".join(line.rstrip() for line in shown).strip("\n")
        pattern = re.escape(text).replace("\\…", "…").replace("…", "[\\s\\S]*?")
        printed = "\n".join(line.rstrip() for line in printed.splitlines()).strip("\n")
        if text and not re.fullmatch(pattern, printed):
            self.fail(guide, command, f"the guide shows\n{text}\n    printed was\n{printed[:3000]}")

    def run(self, guide, command, shown):
        for pattern, why in ELSEWHERE:
            if re.search(pattern, command):
                self.skipped.append(f"{guide}: {command.splitlines()[0]} ({why})")
                return
        if command.startswith("mpirun"):
            if MODE == "check":
                self.check_use(guide, command)
            return
        missing = re.search(ABSENT, command)
        if missing:
            self.skipped.append(f"{guide}: {command.splitlines()[0]} (there is no {missing[0]})")
        elif MODE == "check" and not re.search(HOST_ONLY, command):
            if "evener " in command:
                self.check_use(guide, command)
        else:
            self.run_it(guide, command, shown)

    def check_use(self, guide, command):
        """A command ends for want of a device or of what an earlier one would have made, not because it is used wrongly."""
        for part in re.findall(r"evener .*?(?= : |$)", command, re.S) if command.startswith("mpirun") else [command]:
            self.n_run += 1
            done = self.bash(part)
            made = re.search(r"(\S+): No such file", done.stderr)
            if (done.returncode == 2 and "there are: none at all" not in done.stderr) or made and made[1] not in MADE:
                self.fail(guide, part, f"exit {done.returncode}: {done.stderr.strip()}")

    def run_it(self, guide, command, shown):
        self.n_run += 1
        for pattern, shorter in CHANGES:
            command = re.sub(pattern, shorter, command)
        if self.url:
            command = command.replace("http://127.0.0.1:8080", self.url)
        if command.startswith("evener serve"):
            self.start_server(guide, command)
            return
        began = time.monotonic()
        done = self.bash(command)
        if time.monotonic() - began > 10:
            print(f"{time.monotonic() - began:.0f} s: {command.splitlines()[0]}", flush=True)
        if done.returncode:
            text = " ".join(done.stderr.split())
            if not any(line.startswith("evener: ") and line[:30] in text for line in shown) or done.returncode == 2:
                self.fail(guide, command, f"exit {done.returncode}: {done.stderr.strip()[-1500:]}")
        elif re.search(HOST_ONLY, command) or re.search(SAME_EVERYWHERE, command):
            self.compare(guide, command, shown, done.stdout)

    def start_server(self, guide, command):
        self.stop_server()
        self.first_server = self.first_server or command
        self.server = subprocess.Popen(["bash", "-c", "exec " + command], cwd=self.place, env=self.environment, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.url = self.server.stdout.readline().strip()
        if not self.url:
            self.fail(guide, command, "no address: " + self.server.stderr.read())
            self.server = None
            return
        self.bash(f"until curl -sf {self.url}/health; do sleep 0.2; done")

    def stop_server(self):
        if self.server:
            self.server.terminate()
            self.server.communicate()
        self.server, self.url = None, ""

    def python(self, guide, lines):
        """A text for a client of the first server of a guide."""
        self.n_run += 1
        self.start_server(guide, self.first_server)
        text = "\n".join(lines).replace("http://127.0.0.1:8080", self.url)
        done = subprocess.run([sys.executable, "-c", text], cwd=self.place, env=self.environment, capture_output=True, text=True, timeout=LIMIT_S)
        if done.returncode or not done.stdout.strip():
            self.fail(guide, lines[0], f"exit {done.returncode}, printed {done.stdout!r}: {done.stderr[-1500:]}")

    def check_yaml(self, guide, lines):
        """A whole config, or a cluster, which the next command of the guide reads."""
        text = "\n".join(lines) + "\n"
        if "nodes:" in text:
            (self.place / "mine.yaml").write_text(text)
            return
        (self.place / "configs/shown.yaml").write_text(text if "version: 1" in text else "version: 1\n" + text)
        done = self.bash("evener config check configs/shown.yaml")
        if done.returncode:
            self.fail(guide, lines[0], done.stderr.strip())

    def read(self, path):
        guide = str(path.relative_to(REPO))
        for language, block, file in blocks(path.read_text()):
            if re.search(r"^client = ", "\n".join(block), re.M):
                if self.first_server:
                    self.python(guide, block)
            elif language in ("json", "gbnf"):
                (self.place / file).write_text("\n".join(block) + "\n")
            elif language == "yaml":
                self.check_yaml(guide, block)
            elif language in ("", "sh", "bash", "console"):
                for command, shown in commands(block):
                    self.run(guide, command, shown)
        self.stop_server()
        self.first_server = ""


def skip(why):
    print("skipped:", why)
    return 77


def main():
    if not os.path.exists(MODEL):
        sys.exit(skip("EVENER_TEST_MODEL names no file"))
    with tempfile.TemporaryDirectory() as folder:
        reader = Reader(pathlib.Path(folder))
        for path in [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]:
            if path.name not in ("cli.md", "design.md", "glossary.md") and (len(sys.argv) < 5 or path.name in sys.argv[4:]):
                reader.read(path)
    print(*reader.skipped, *reader.failures, sep="\n")
    print(f"{reader.n_run} commands were run, {len(reader.skipped)} were not, {len(reader.failures)} failed")
    sys.exit(bool(reader.failures) or (reader.n_run < 50 and len(sys.argv) < 5))


main()
