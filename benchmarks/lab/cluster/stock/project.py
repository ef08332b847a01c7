"""A minimal project that runs each step in its own pod: four assets in a chain, dagster-k8s's own executor."""

import dagster as dg
from dagster_k8s import k8s_job_executor


@dg.asset
def one(context: dg.AssetExecutionContext) -> None:
    """Does nothing."""
    context.log.info("At work.")


@dg.asset(deps=[one])
def two(context: dg.AssetExecutionContext) -> None:
    """Does nothing."""
    context.log.info("At work.")


@dg.asset(deps=[two])
def three(context: dg.AssetExecutionContext) -> None:
    """Does nothing."""
    context.log.info("At work.")


@dg.asset(deps=[three])
def four(context: dg.AssetExecutionContext) -> None:
    """Does nothing."""
    context.log.info("At work.")


defs = dg.Definitions(
    assets=[one, two, three, four],
    jobs=[dg.define_asset_job("chain", selection=[one, two, three, four])],
    executor=k8s_job_executor,
)
