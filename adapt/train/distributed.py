"""Several processes, one a device, that train as one: started by torchrun, sharded by FSDP2.

Every process makes the same plan. What they say to each other beside tensors (did somebody find a fault, was somebody told to
stop) goes through a group of its own, on CPUs.
"""

import contextlib
import dataclasses
import datetime
import os
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from adapt.errors import DataError, SharedError, UsageError
from adapt.model.internvl import InternVL

WAIT = datetime.timedelta(hours=2)  # for the main process, which indexes the data while the others wait


@dataclasses.dataclass(frozen=True)
class World:
    """The processes of a run. ``control`` is their group on CPUs; None where there is one process only."""

    rank: int
    size: int
    device: torch.device
    control: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this process speaks, and writes files."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, on the CPU. ``tensor`` is left as it is."""
        total = tensor.detach().cpu().clone()
        if self.control is not None:
            dist.all_reduce(total, group=self.control)
        return total

    def gathered(self, value: Any) -> list[Any]:
        """What each process says, by rank."""
        if self.control is None:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self.control)
        return found

    def raise_together(self, fault: str | None) -> None:
        """Raise DataError in every process where one of them has found a fault; it is said once."""
        for message in self.gathered(fault):
            if message is not None:
                raise SharedError(message)

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process runs the block before the others, which then find what it left (a cached index).

        What stops it there stops the others too.
        """
        if not self.is_main:
            self.raise_together(None)
            yield
            return
        try:
            yield
        except Exception as error:
            self.gathered(f"the main process: {error}")
            raise
        self.gathered(None)


@contextlib.contextmanager
def join_world() -> Iterator[World]:
    """The world of this process: of torchrun's environment where it is set, else of one process.

    Raises UsageError where the environment is half set, and for more processes on a machine than it has GPUs.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    on_gpu = torch.cuda.is_available()
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if size > 1 and missing:
        raise UsageError(
            f"WORLD_SIZE={size} without {', '.join(missing)}: something set it that was not torchrun; start several processes "
            "by 'torchrun --nproc-per-node N -m adapt finetune ...', or unset it"
        )
    if size == 1:
        yield World(0, 1, torch.device("cuda" if on_gpu else "cpu"))
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if on_gpu and local >= torch.cuda.device_count():
        raise UsageError(
            f"process {local + 1} on a machine with {torch.cuda.device_count()} GPUs; give torchrun at most that many with "
            "--nproc-per-node"
        )
    device = torch.device("cuda", local) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=WAIT)
    try:
        yield World(dist.get_rank(), size, device, dist.new_group(backend="gloo", timeout=WAIT))
    except RuntimeError as error:
        if not _is_lost(error):
            raise
        raise DataError(
            "another process of the run has ended; what stopped it stands above or in its own log; go on with --resume"
        ) from error
    finally:
        dist.destroy_process_group()


def _is_lost(error: RuntimeError) -> bool:
    """Whether an error says that the connection to another process is gone."""
    return isinstance(error, dist.DistError) or ("peer" in str(error) and "onnection" in str(error))


def shard(model: InternVL, world: World, *, reshard: bool) -> None:
    """Spread the parameters over the processes: one unit a block, a layer, the connector, and one of what is left.

    ``reshard`` gives the whole parameters of a unit back after each use: less memory, more traffic.
    """
    if world.size == 1:
        return
    mesh = init_device_mesh(world.device.type, (world.size,))
    for unit in (*model.vision.vit.blocks, *model.language.model.layers, model.connector, model):
        fully_shard(unit, mesh=mesh, reshard_after_forward=reshard)


def prepare_backward(model: nn.Module, *, last: bool, reshard: bool) -> None:
    """Whether the next backward pass adds its gradients up over the processes and gives the whole weights back.

    Until the ``last`` of a step both stay where they are, unless ``reshard`` saves memory by traffic.
    """
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last or reshard)
        model.set_reshard_after_backward(last or reshard)


def put_together(tensor: Tensor) -> Tensor:
    """The tensor on the CPU, put together from all processes, which must all ask."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu()


def spread_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """This process's part of a whole tensor, as ``parameter`` is spread."""
    placed = tensor.to(parameter.device, copy=True)
    if not isinstance(parameter, DTensor):
        return placed
    return distribute_tensor(placed, parameter.device_mesh, parameter.placements, src_data_rank=None)
