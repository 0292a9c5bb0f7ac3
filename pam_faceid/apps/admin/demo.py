"""`faceid-admin demo`: the main job on a recorded camera."""

from __future__ import annotations

import click

from pam_faceid.apps.admin.context import Admin, pass_admin, require_root


@click.command()
@pass_admin
@click.pass_context
def demo(ctx: click.Context, admin: Admin) -> None:
    """Enrol a portrait, let a print of it in through real PAM, refuse others, and clean up."""
    require_root("the demo")
    from pam_faceid.demo.runner import run_demo

    ctx.exit(run_demo(admin.layout))
