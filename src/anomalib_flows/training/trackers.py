"""The services that a run can be logged to, each through Lightning's logger of it."""

from __future__ import annotations

import logging
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image

from anomalib_flows.core.files import atomic
from anomalib_flows.core.finding import mark_results
from anomalib_flows.core.locks import locked
from anomalib_flows.core.shell import command_line
from anomalib_flows.run.config import TrainConfig
from anomalib_flows.run.directory import Run

Metrics = Mapping[str, float]
Pictures = Mapping[str, Path]


class Service(ABC):
    """A run at a service; it continues the one that an earlier part of a resumed run has begun, where there is one.

    Args:
        config: Everything that makes the run.
        run: The run directory.
        step: First step that is going to be logged; None if only results are.

    Attributes:
        logger: Lightning's logger.
        place: Command or address that shows the run beside others.
    """

    logger: Logger
    place: str

    @abstractmethod
    def __init__(self, config: TrainConfig, run: Run, step: int | None) -> None:
        """Begin the run, and log its configuration."""

    @abstractmethod
    def log_results(self, metrics: Metrics, pictures: Pictures, step: int) -> None:
        """Log metrics and pictures of the trained model."""

    def close(self, status: str) -> None:
        """End the run with Lightning's ``success`` or ``failed``."""
        self.logger.finalize(status)


class TensorBoard(Service):
    """Event files in ``logs/`` of the run; a resumed run replaces the steps that it repeats."""

    def __init__(self, config: TrainConfig, run: Run, step: int | None) -> None:
        self.values = config.to_dict()
        self.logger: TensorBoardLogger = TensorBoardLogger(
            run.path, name="logs", version="", default_hp_metric=False, purge_step=step or None
        )
        self.logger.log_hyperparams(self.values)  # to hparams.yaml
        text = run.config_file.read_text(encoding="utf-8")
        self.logger.experiment.add_text("config", "\n".join(f"    {line}" for line in text.splitlines()))
        self.place = command_line("tensorboard", "--logdir", output(config, run))

    def log_results(self, metrics: Metrics, pictures: Pictures, step: int) -> None:
        """Log metrics as scalars, and beside the configuration on the page of hyperparameters."""
        self.logger.log_hyperparams(self.values, dict(metrics), step)
        for name, file in pictures.items():
            with Image.open(file) as image:
                self.logger.experiment.add_image(name, np.asarray(image), step, dataformats="HWC")


class MLflow(Service):
    """``mlflow.db`` and ``mlflow-artifacts`` in the folder of all runs, unless ``MLFLOW_TRACKING_URI`` is set."""

    def __init__(self, config: TrainConfig, run: Run, step: int | None) -> None:
        quieten_mlflow()
        uri, artifacts = mlflow_store(config, run)
        # Two processes that begin a database at the same time would damage it.
        with locked(artifacts, wait=True) if artifacts else nullcontext():
            earlier = kept_id(run, "mlflow", partial(exists_at, uri))
            self.logger: MLFlowLogger = MLFlowLogger(
                os.environ.get("MLFLOW_EXPERIMENT_NAME") or project(config),
                title(run),
                tracking_uri=uri,
                artifact_location=artifacts.as_uri() if artifacts else None,
                run_id=earlier,
                synchronous=False,
            )
            self.run, self.client, self.id = run, self.logger.experiment, str(self.logger.run_id)
        if earlier:
            self.client.update_run(earlier, status="RUNNING")  # its parameters cannot be changed
        else:
            self.logger.log_hyperparams(config.to_dict())
            keep_id(run, "mlflow", self.id)
        self.place = uri if uri.startswith("http") else command_line("mlflow", "ui", "--backend-store-uri", uri)

    def log_results(self, metrics: Metrics, pictures: Pictures, step: int) -> None:
        """Log metrics, and as artifacts the pictures and the files that hold all options and metrics."""
        self.logger.log_metrics(metrics, step)
        for file in (self.run.config_file, self.run.metrics_file):
            if file.exists():
                self.client.log_artifact(self.id, str(file))
        for name, file in pictures.items():
            self.client.log_artifact(self.id, str(file), Path(name).parent.as_posix())

    def close(self, status: str) -> None:
        """Wait until everything has been written, and end the run."""
        import mlflow

        mlflow.flush_async_logging()
        super().close(status)


class WandB(Service):
    """A run at Weights & Biases, or a folder ``wandb`` beside all runs unless a variable asks for the network."""

    def __init__(self, config: TrainConfig, run: Run, step: int | None) -> None:
        asked = os.environ.get("WANDB_MODE") or os.environ.get("WANDB_API_KEY")
        if not asked:
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_SILENT", "true")
        folder = output(config, run)
        mark_results(folder / "wandb")
        self.logger: WandbLogger = WandbLogger(
            project=os.environ.get("WANDB_PROJECT") or project(config),
            name=title(run),
            save_dir=folder,
            id=kept_id(run, "wandb"),
            mode=None if asked else "offline",  # the logger's own option would change the environment of later runs
            settings={"console": "off", "disable_git": True, "disable_code": True},
        )
        self.logger._wandb_init.pop("anonymous", None)  # noqa: SLF001 (of which wandb warns)
        self.logger.log_hyperparams(config.to_dict())
        begun = self.logger.experiment
        keep_id(run, "wandb", begun.id)
        self.place = command_line("wandb", "sync", Path(begun.dir).parent) if begun.offline else begun.url or begun.dir

    def log_results(self, metrics: Metrics, pictures: Pictures, step: int) -> None:
        """Log metrics and pictures."""
        self.logger.log_metrics(metrics, step)
        if pictures:
            files = [str(file) for file in pictures.values()]
            self.logger.log_image("pictures", files, step, caption=list(pictures))

    def close(self, status: str) -> None:
        """End the run: later ones in this process are runs of their own."""
        super().close(status)
        self.logger.experiment.finish(exit_code=int(status != "success"))


SERVICES: Mapping[str, type[Service]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}
"""The services by the name of their option ``trainer.logger``, which is also that of their module and extra."""


def project(config: TrainConfig) -> str:
    """Return the project, or experiment, in which runs on a dataset are compared."""
    data = config.data.class_path.rpartition(".")[2] if config.data else "imported"
    return f"anomalib-flows-{data}"


def title(run: Run) -> str:
    """Return the name of a run at a service, as in 'fastflow mvtec bottle run-001'."""
    return " ".join(run.path.absolute().parts[-4:])


def output(config: TrainConfig, run: Run) -> Path:
    """Return the folder of all runs; of a run that was moved elsewhere, the folder that it is in."""
    path = run.path.absolute()
    return config.output if path.is_relative_to(config.output) else path.parent


def quieten_mlflow() -> None:
    """Set what the environment leaves open: no usage data, no progress, and no minutes of waiting for a server."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "ERROR",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    }.items():
        os.environ.setdefault(name, value)
    logging.getLogger("lightning.pytorch.loggers.mlflow").setLevel(logging.ERROR)


def mlflow_store(config: TrainConfig, run: Run) -> tuple[str, Path | None]:
    """Return where MLflow keeps runs, and the folder of their files; None leaves the latter to a given server."""
    if given := os.environ.get("MLFLOW_TRACKING_URI"):
        return given, None
    folder = output(config, run)
    artifacts = folder / "mlflow-artifacts"
    mark_results(artifacts)
    return f"sqlite:///{(folder / 'mlflow.db').as_posix()}", artifacts


def exists_at(uri: str, known: str) -> bool:
    """Return whether a run of this id is at an MLflow server, and was not deleted."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        return bool(MlflowClient(uri).get_run(known).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def kept_id(run: Run, name: str, exists: Callable[[str], bool] = lambda _: True) -> str | None:
    """Return the id that a resumed run has at a service; None if there is none that exists."""
    file = run.path / "logs" / f"{name}-id.txt"
    known = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    return known if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", known) and exists(known) else None


def keep_id(run: Run, name: str, known: str) -> None:
    """Keep the id of a run at a service, for when the run is resumed."""
    folder = run.path / "logs"
    folder.mkdir(exist_ok=True)
    with atomic(folder / f"{name}-id.txt") as temporary:
        temporary.write_text(f"{known}\n", encoding="utf-8")
