"""Generates packages/contracts and the edge's descriptor set from proto/.

buf/validate/validate.proto comes from the installed protovalidate, which carries its
descriptor but not its source; google/* comes from the googleapis distribution.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2
from protovalidate._gen.buf.validate import validate_pb

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
OUTPUT = ROOT / "packages" / "contracts" / "src"
DESCRIPTOR_SET = OUTPUT / "clarion" / "api" / "descriptors.binpb"
VALIDATE = "buf/validate/validate.proto"


def site_packages() -> Path:
    """Returns the folder that holds google/api/*.proto."""
    import google.rpc.status_pb2 as status_pb2

    return Path(status_pb2.__file__).parent.parent.parent


def validate_descriptor_set() -> bytes:
    """Returns a FileDescriptorSet with validate.proto and what it imports."""
    from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2

    files = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    validate = files.file.add()
    validate.ParseFromString(validate_pb.desc().proto.to_binary())
    # Names a registry that our users need not have.
    validate.options.ClearField("go_package")
    return files.SerializeToString()


def protoc(*arguments: str, proto_root: Path = PROTO) -> None:
    """Runs protoc over proto_root with the third-party contracts in reach."""
    import grpc_tools

    with tempfile.NamedTemporaryFile(suffix=".binpb") as third_party:
        third_party.write(validate_descriptor_set())
        third_party.flush()
        subprocess.run(
            [
                sys.executable,
                "-m",
                "grpc_tools.protoc",
                f"-I{proto_root}",
                f"-I{site_packages()}",
                f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
                f"--descriptor_set_in={third_party.name}",
                *arguments,
            ],
            check=True,
            env={"PATH": str(Path(sys.executable).parent)},
        )


def sources(proto_root: Path = PROTO) -> list[str]:
    """Returns the contracts' paths, relative to proto_root."""
    return sorted(
        path.relative_to(proto_root).as_posix() for path in proto_root.rglob("*.proto")
    )


def write_descriptor_set(target: Path, proto_root: Path = PROTO) -> None:
    """Writes the whole mesh as one FileDescriptorSet, comments included."""
    protoc(
        "--include_imports",
        "--include_source_info",
        f"--descriptor_set_out={target}",
        *sources(proto_root),
        proto_root=proto_root,
    )


def generate(output: Path = OUTPUT) -> None:
    """Writes messages, stubs and types, replacing what was generated before."""
    for package in ("clarion/api", "buf"):
        folder = output / package
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "py.typed").touch()
    files = sources()
    services = [name for name in files if name.endswith("_service.proto")]
    protoc(f"--python_out={output}", f"--mypy_out=quiet:{output}", *files, VALIDATE)
    # Concrete stubs: a servicer may leave out what is not served yet.
    stub_options = "quiet,generate_concrete_servicer_stubs"
    protoc(
        f"--grpc_python_out={output}",
        f"--mypy_grpc_out={stub_options}:{output}",
        *services,
    )
    write_descriptor_set(output / DESCRIPTOR_SET.relative_to(OUTPUT))


if __name__ == "__main__":
    generate()
