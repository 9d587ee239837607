"""The image without an engine: the Dockerfile and its neighbours linted, and its steps run in a clean environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT_DIR = Path(__file__).parents[2]
DEPLOYMENTS = PROJECT_DIR / "deployments"
SECRET_NAME = re.compile(r"(?i)password|secret|token|api_?key|credential")
PINNED = re.compile(r"^[\w./-]+:v?\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?$")


def _instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (DEPLOYMENTS / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip()]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def _all(name: str) -> list[str]:
    return [rest for instruction, rest in _instructions() if instruction == name]


def _compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text())
    return loaded


def test_the_base_image_is_slim_and_pinned_to_a_patch_release():
    (base,) = _all("FROM")
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", base)
    assert tuple(map(int, re.findall(r"\d+", base)[:2])) >= (3, 11)


def test_it_runs_without_root():
    users = _all("USER")
    assert users
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", users[-1])
    order = [instruction for instruction, _ in _instructions()]
    assert order.index("USER") < order.index("CMD")


def test_a_volume_on_the_folder_that_prefect_writes_to_belongs_to_its_user():
    owner, group = _all("USER")[-1].split(":")
    home = re.search(r"PREFECT_HOME=(\S+)", " ".join(_all("ENV")))
    assert home is not None
    assert any(f"--owner={owner} --group={group} {home[1]}" in one for one in _all("RUN"))
    assert f"server:{home[1]}" in _compose()["services"]["server"]["volumes"]
    state = _compose()["services"]["worker"]["volumes"][0].split(":")[1]
    assert any(f"--owner={owner} --group={group} --mode=0700 {state}" in one for one in _all("RUN"))


def test_no_container_of_compose_can_gain_rights_or_change_its_image():
    for name, service in _compose()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        assert "/tmp" in service["tmpfs"], name
        assert service.get("user", "10001:10001").split(":")[0] not in ("0", "root"), name


def test_on_a_read_only_root_incidents_wait_on_a_writable_mount_of_the_worker():
    worker = _compose()["services"]["worker"]
    pod = yaml.safe_load((DEPLOYMENTS / "kubernetes" / "worker.yaml").read_text())["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    in_pod = {one["name"]: one.get("value") for one in container["env"]}
    writable = {one["name"] for one in pod["volumes"] if "emptyDir" in one or "persistentVolumeClaim" in one}
    for folder, mounts in (
        (worker["environment"]["GAPLESS_SPOOL_FOLDER"], [str(one).partition(":")[2] for one in worker["volumes"]]),
        (
            in_pod["GAPLESS_SPOOL_FOLDER"],
            [one["mountPath"] for one in container["volumeMounts"] if one["name"] in writable],
        ),
    ):
        # Below the mount, not the mount itself: a volume may belong to root, and the spool closes its own folder.
        assert [mount for mount in mounts if mount.startswith("/") and folder.startswith(f"{mount}/")], folder
    assert "\n* `GAPLESS_SPOOL_FOLDER`" in (PROJECT_DIR / "docs" / "deploy-gcp.md").read_text()


def test_compose_mounts_the_one_credentials_file_read_only_and_where_it_is_read():
    services = _compose()["services"]
    name = "/.config/gcloud/application_default_credentials.json"
    bound = {
        service: [one for one in found.get("volumes", []) if isinstance(one, dict)]
        for service, found in services.items()
    }
    assert {service for service, found in bound.items() if found} == {"provision", "worker"}
    for (one,) in (found for found in bound.values() if found):
        assert one["source"].endswith(name)
        assert one["target"] == f"/home/gapless{name}"
        assert one["read_only"] is True
        assert one["bind"] == {"create_host_path": False}
    assert not [
        one for found in services.values() for one in found.get("volumes", []) if str(one).startswith((".", "/", "$"))
    ]


def test_every_hint_names_a_role_of_the_least_ones_that_the_docs_name():
    page = (PROJECT_DIR / "docs" / "deploy-gcp.md").read_text()
    section = page.partition("## Least privilege\n")[2].partition("\n```")[0]
    least = set(re.findall(r"`(roles/[\w.]+)`", section))
    assert len(least) == 5
    code = [
        path.read_text() for room in ("scrapers", "processors", "flows") for path in (PROJECT_DIR / room).rglob("*.py")
    ]
    hinted = set(re.findall(r"roles/[A-Za-z.]+\w", "".join(code)))
    assert hinted
    # Whoever makes a dataset for one deep preflight needs more than a worker; the page says so too.
    for_one_command = hinted - least
    assert for_one_command <= {"roles/bigquery.user"}
    assert all(f"`{role}`" in page for role in for_one_command)


def test_every_worker_is_as_patient_with_a_busy_server_as_the_embedded_stack():
    from deployments.local.prefect_children import client_settings

    name = "PREFECT_CLIENT_MAX_RETRIES"
    wanted = client_settings(DEPLOYMENTS, 1, "name:password")[name]
    assert int(wanted) > 5
    assert f"{name}={wanted} " in f"{' '.join(_all('ENV'))} "
    assert _compose()["services"]["worker"]["environment"][name] == wanted
    document = yaml.safe_load((DEPLOYMENTS / "kubernetes" / "worker.yaml").read_text())
    (container,) = document["spec"]["template"]["spec"]["containers"]
    assert {"name": name, "value": wanted} in container["env"]


def test_no_secret_and_no_download_is_part_of_it():
    assert not [one for one in _all("ENV") + _all("ARG") if SECRET_NAME.search(one)]
    assert not _all("ADD")
    assert not [one for one in _all("RUN") if re.search(r"curl|wget|apt-get|sudo|git clone|chmod 777", one)]


def test_every_version_is_constrained_and_nothing_is_cached():
    pinned, own = [one for one in _all("RUN") if "pip install" in one]
    assert pinned.endswith("--no-deps --require-hashes --requirement constraints-runtime.txt")
    assert own.endswith("--no-deps .")
    assert "--no-cache-dir" in pinned
    assert "--no-cache-dir" in own


def test_each_constraint_has_a_hash_and_the_same_version_in_every_file():
    found: dict[str, dict[str, str]] = {}
    for name in ("runtime", "local", "dev"):
        text = (PROJECT_DIR / f"constraints-{name}.txt").read_text()
        for line in re.split(r"\n(?=\S)", text.replace("\\\n", " ")):
            if not line.startswith("#") and line.strip():
                assert "--hash=sha256:" in line, line
                distribution, _, version = line.split()[0].partition("==")
                assert version, line
                found.setdefault(distribution, {})[name] = version
    assert all(len(set(versions.values())) == 1 for versions in found.values())
    in_runtime = {name for name, versions in found.items() if "runtime" in versions}
    assert in_runtime >= {"prefect", "tzdata", "google-cloud-bigquery", "asyncpg", "pyyaml"}
    assert not in_runtime & {"bqemulator", "datasette", "pytest", "ruff", "uv"}
    assert "pytest" not in {name for name, versions in found.items() if "local" in versions}
    assert all("dev" in versions for versions in found.values())


def test_it_copies_the_packages_by_name_and_each_of_them_exists():
    sources = [word for one in _all("COPY") for word in one.split()[:-1]]
    assert "." not in sources
    assert all((PROJECT_DIR / source).exists() for source in sources)
    project = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= set(sources)
    sent = (PROJECT_DIR / ".dockerignore").read_text().splitlines()
    assert sent[0] == "*"
    assert {line[1:] for line in sent if line.startswith("!")} == set(sources)


def test_it_starts_a_worker_of_the_provisioned_pool_and_says_how_it_is():
    from deployments.provision import WORK_POOL

    command = json.loads(_all("CMD")[-1])
    assert command[:5] == ["python", "-m", "deployments.warm_worker", "--pool", WORK_POOL]
    assert _all("HEALTHCHECK")


def test_compose_pins_its_images_binds_loopback_and_holds_no_secret():
    compose = _compose()
    for name, service in compose["services"].items():
        assert "build" in service or PINNED.fullmatch(service["image"]), name
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert "healthcheck" in service or "build" in service, name
        for variable, value in service.get("environment", {}).items():
            if SECRET_NAME.search(variable):
                assert str(value).startswith("${"), f"{name}: {variable}"
    text = (DEPLOYMENTS / "compose.yaml").read_text()
    assert all(found.startswith("${") for found in re.findall(r"://\w+:([^@\s]+)@", text))


def test_the_server_of_compose_asks_for_a_password_checks_host_and_origin_and_its_clients_know_it():
    services = _compose()["services"]
    server = services["server"]["environment"]
    given = services["worker"]["environment"]["PREFECT_API_AUTH_STRING"]
    assert given.startswith("${PREFECT_API_AUTH_STRING:?")
    assert server["PREFECT_SERVER_API_AUTH_STRING"] == given
    assert services["provision"]["environment"]["PREFECT_API_AUTH_STRING"] == given
    assert server["PREFECT_SERVER_UI_API_URL"] == f"{server['PREFECT_SERVER_CORS_ALLOWED_ORIGINS']}/api"
    host = services["worker"]["environment"]["PREFECT_API_URL"].split("/")[2].split(":")[0]
    assert services["server"]["command"][:5] == ["python", "-m", "deployments.local.prefect_server", "--name", host]


def test_every_place_that_starts_a_worker_names_the_password_of_the_server():
    document = yaml.safe_load((DEPLOYMENTS / "kubernetes" / "worker.yaml").read_text())
    (container,) = document["spec"]["template"]["spec"]["containers"]
    (given,) = [one for one in container["env"] if one["name"] == "PREFECT_API_AUTH_STRING"]
    assert given["valueFrom"]["secretKeyRef"] == {"name": "gapless-worker", "key": "PREFECT_API_AUTH_STRING"}
    page = (PROJECT_DIR / "docs" / "deploy-gcp.md").read_text()
    assert "\n* `PREFECT_SERVER_API_AUTH_STRING`" in page
    assert "\n* `PREFECT_API_AUTH_STRING`" in page
    assert "--set-secrets=PREFECT_API_AUTH_STRING=" in page


def test_a_server_without_a_password_is_not_started():
    done = subprocess.run(
        [sys.executable, "-m", "deployments.local.prefect_server", "--name", "server", "server", "start"],
        cwd=PROJECT_DIR,
        env={name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "PREFECT_SERVER_API_AUTH_STRING is empty" in done.stderr
    assert "Nothing was started" in done.stderr


def test_compose_starts_the_parts_in_the_order_of_need():
    services = _compose()["services"]
    assert services["server"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["provision"]["depends_on"] == {"server": {"condition": "service_healthy"}}
    assert services["worker"]["depends_on"] == {"provision": {"condition": "service_completed_successfully"}}
    assert services["mail"]["profiles"] == ["mail"]


def test_every_gapless_variable_of_the_files_is_a_setting():
    from flows.settings import Settings

    known = {f"GAPLESS_{name.upper()}" for name in Settings.model_fields} | {"GAPLESS_COMMIT"}
    files = [DEPLOYMENTS / "compose.yaml", DEPLOYMENTS / "Dockerfile", DEPLOYMENTS / "kubernetes" / "worker.yaml"]
    used = {name for file in files for name in re.findall(r"\bGAPLESS_[A-Z_]+\b", file.read_text())}
    assert used <= known


def test_the_kubernetes_worker_has_no_root_no_writable_image_and_bounded_memory():
    document = yaml.safe_load((DEPLOYMENTS / "kubernetes" / "worker.yaml").read_text())
    pod = document["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == _all("USER")[-1]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["resources"]["limits"]["memory"]
    assert not [one["name"] for one in container["env"] if SECRET_NAME.search(one["name"])]


def _python_of_the_image() -> str:
    """The image's minor version where it is installed, else ours."""
    wanted = ".".join(re.findall(r"\d+", _all("FROM")[0])[:2])
    for candidate in (shutil.which(f"python{wanted}"), *Path.home().glob(f".pyenv/versions/{wanted}.*/bin/python")):
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(candidate)
    return sys.executable


@pytest.mark.faults
@pytest.mark.timeout(2700)
def test_its_steps_install_and_start_in_a_clean_environment(tmp_path):
    workdir, venv = tmp_path / "workdir", tmp_path / "venv"
    workdir.mkdir()
    subprocess.run([_python_of_the_image(), "-m", "venv", str(venv)], check=True, timeout=120)
    image_env = dict(re.findall(r'(\w+)=("[^"]*"|\S+)', " ".join(_all("ENV"))))
    env = {name: value.strip('"') for name, value in image_env.items() if name != "GAPLESS_COMMIT"}
    kept = {name: value for name, value in os.environ.items() if re.match(r"(?i)pip_|https?_proxy|no_proxy|ssl_", name)}
    env = {
        **kept,
        **env,
        "HOME": str(tmp_path),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PATH": f"{venv}/bin:/usr/bin:/bin",
    }
    for instruction, rest in _instructions():
        if instruction == "COPY":
            *names, _ = rest.split()
            for name in names:
                source, target = PROJECT_DIR / name, workdir / name
                if source.is_dir():
                    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, target)
        elif instruction == "RUN" and rest.startswith("python "):
            _run(rest, workdir, env)
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    _run(
        "python -c \"import zoneinfo; assert not zoneinfo.TZPATH; zoneinfo.ZoneInfo('America/New_York')\"", outside, env
    )
    _run('python -c "import flows.backfill, deployments.provision, alerting.templates"', outside, env)
    _run("gapless --version", outside, env)
    assert "--with-healthcheck" in _run("python -m deployments.warm_worker --help", outside, env)


def _run(command: str, cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-c", command], cwd=cwd, env=env, capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout
