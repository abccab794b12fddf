"""Commands that go on until they are stopped: radiographs come in over the network, ages go out."""

from __future__ import annotations

import argparse

from boneage_jax.cli.options import command
from boneage_jax.options import add_options, request_of
from boneage_jax.serving.request import NETWORK_OPTIONS, NodeRequest
from boneage_jax.serving.web.request import HttpRequest
from boneage_jax.workflows.requests import AssessRequest


def add(commands: argparse._SubParsersAction) -> None:
    """Declares them."""
    serve = commands.add_parser("serve", help="read radiographs that other systems send, until stopped")
    serve_commands = serve.add_subparsers(required=True, metavar="COMMAND")
    dicom = command(
        serve_commands,
        "serve dicom",
        _dicom,
        summary="a DICOM node: takes radiographs by C-STORE, sends structured reports and pictures to another node",
        example="boneage serve dicom --to archive.example:104:ARCHIVE\n"
        "boneage serve dicom --to 10.0.0.5:104:ARCHIVE --host 0.0.0.0 --allow-ae ARCHIVE,CR_ROOM_2 \\\n"
        "    --modality CR,DX --study 'bone age|hand' --spool /var/lib/boneage\n\n"
        "SIGTERM, or an interrupt from the keyboard, ends it with status 0, once what was accepted is answered",
        request=NodeRequest,
    )
    add_options(dicom.add_argument_group("networks"), AssessRequest, only=NETWORK_OPTIONS)
    http = command(
        serve_commands,
        "serve http",
        _http,
        summary="a page to drop radiographs on, and a JSON endpoint, for this machine or with a token for others",
        example="boneage serve http\n"
        "boneage serve http --host 0.0.0.0 --port 8080     # BONEAGE_TOKEN holds the token\n"
        "boneage serve http --bundle phantom_only --keep results\n\n"
        "a program asks it as in curl -F file=@hand.png -F sex=F http://127.0.0.1:8000/api/v1/assessments\n\n"
        "SIGTERM, or an interrupt from the keyboard, ends it with status 0, once what was accepted is answered",
        request=HttpRequest,
    )
    add_options(http.add_argument_group("networks"), AssessRequest, only=(*NETWORK_OPTIONS, "sex_conflict"))


def _dicom(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.serving import dicom_node

    networks = request_of(AssessRequest, options, paths=(), batch_size=1)
    print(dicom_node.run_node(request_of(NodeRequest, options, networks=networks)))


def _http(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.serving.web import server

    networks = request_of(AssessRequest, options, paths=(), batch_size=1)
    print(server.run(request_of(HttpRequest, options, networks=networks)))
