"""A Dagster project whose steps misbehave on demand; the image under test runs it, mounted from a ConfigMap."""

import os
import time

import dagster as dg

from k8s_run_launcher.executor import profiled_k8s_job_executor
from k8s_run_launcher.memory_peak import record_memory_peak

RETRY = dg.RetryPolicy(max_retries=2, delay=1)


class Sleep(dg.Config):
    seconds: float = 1.0


class Eat(dg.Config):
    mebibytes: int


@dg.asset(retry_policy=RETRY)
def sleeper(context: dg.AssetExecutionContext, config: Sleep) -> None:
    """Sleeps, the first time; a retry is quick."""
    context.log.info("at work on node class %s", os.environ.get("NODE_CLASS", "none"))
    if context.retry_number == 0:
        try:
            time.sleep(config.seconds)
        except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as error:
            raise dg.Failure(description="Interrupted.", allow_retries=True) from error


@dg.asset(retry_policy=RETRY)
def glutton(config: Eat) -> None:
    """Takes memory, slowly enough that its own note of the peak keeps up."""
    with record_memory_peak():
        eaten = []
        for _ in range(config.mebibytes // 32):
            eaten.append(os.urandom(1024) * (32 * 1024))
            time.sleep(0.3)


@dg.asset(retry_policy=RETRY)
def plain(context: dg.AssetExecutionContext) -> None:
    """Does nothing."""
    context.log.info("at work")


defs = dg.Definitions(
    assets=[sleeper, glutton, plain],
    jobs=[dg.define_asset_job(f"run_{name}", selection=name) for name in ("sleeper", "glutton", "plain")],
    executor=profiled_k8s_job_executor,
)
