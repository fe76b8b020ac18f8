"""A training step that a GPU is given at once: its kernels are recorded, then replayed.

A step of a small model is thousands of short kernels, and the processor takes longer to launch them
than the GPU to run them. CUDA graphs (``torch.cuda.graph``) record the launches of one forward and
backward pass and repeat them as one. A recording holds for one shape of batch, at fixed places in
memory: batches are padded to few shapes, and copied to where the recording reads.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

Batch = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    batch: Batch
    loss: torch.Tensor
    gradients: list[torch.Tensor | None]


class RecordedSteps:
    """The loss of a batch and its gradients, recorded once per shape of batch.

    The first batch of a shape is computed as always, the second one is recorded, and from there on
    the recording is replayed. Dropout draws anew each time. A model whose forward pass asks the GPU
    for a number on the way (experts do, to count their tokens) cannot be recorded: that is found on
    the first batch, and its steps are computed as always.

    Parameters
    ----------
    loss : callable
        Gives the loss of a batch on the GPU, a scalar, with its graph.
    parameters : sequence of Parameter
        Whose gradients are wanted; they keep their places in memory.
    """

    def __init__(
        self,
        loss: Callable[[Batch], torch.Tensor],
        parameters: Sequence[torch.nn.Parameter],
    ):
        self._loss = loss
        self._parameters = parameters
        self._recordings: dict[tuple[torch.Size, ...], _Recording | None] = {}
        self._stream = torch.cuda.Stream()
        self._pool = torch.cuda.graph_pool_handle()
        self._can: bool | None = None  # not known yet

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Compute the loss, and the gradients into ``grad`` of the parameters.

        Parameters
        ----------
        batch : mapping of str to Tensor
            On the GPU.

        Returns
        -------
        Tensor
            The loss, without a graph.
        """
        shape = tuple(values.shape for values in batch.values())
        if self._can is None:
            self._can, loss = self._tried(batch)
            self._recordings[shape] = None
            return loss
        if not self._can or shape not in self._recordings:
            self._recordings[shape] = None
            return self._computed(batch)
        recording = self._recordings[shape] or self._record(batch)
        self._recordings[shape] = recording
        for name, values in batch.items():
            recording.batch[name].copy_(values)
        recording.graph.replay()
        for parameter, gradient in zip(self._parameters, recording.gradients, strict=True):
            parameter.grad = gradient
        return recording.loss.clone()

    def _tried(self, batch: Batch) -> tuple[bool, torch.Tensor]:
        """Compute a batch while torch refuses to wait for the GPU; else as always."""
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            return True, self._computed(batch)
        except RuntimeError as error:
            if "synchroniz" not in str(error):
                raise
        finally:
            torch.cuda.set_sync_debug_mode(before)
        return False, self._computed(batch)

    def _computed(self, batch: Batch) -> torch.Tensor:
        self._forget()
        # on the stream of the recordings: what a first pass sets up there is not to be recorded
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            loss = self._loss(batch)
            loss.backward()
        torch.cuda.current_stream().wait_stream(self._stream)
        return loss.detach()

    def _record(self, batch: Batch) -> _Recording:
        self._forget()
        kept = {name: values.clone() for name, values in batch.items()}
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            loss = self._loss(kept)
            loss.backward()
        gradients = [parameter.grad for parameter in self._parameters]
        return _Recording(graph, kept, loss.detach(), gradients)

    def _forget(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None
