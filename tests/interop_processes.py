"""An accelerated model in other processes: run by test_interop_modes, prints what went well."""

import torch
from torch import multiprocessing, nn

from fastlstm.interop.torch import accelerate


def step(model, x):
    torch.set_num_threads(1)
    out, _ = model(x)
    return [out.detach(), *torch.autograd.grad(out.sum(), model.parameters())]


def child(model, x, queue):
    queue.put([tensor.numpy() for tensor in step(model, x)])
    with torch.no_grad():
        model.bias_ih_l0.zero_()


class Rows(torch.utils.data.Dataset):
    def __init__(self, model, x):
        self.model, self.x = model, x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        return step(self.model, self.x[row])[0]


def main():
    torch.set_num_threads(1)
    model, x = nn.LSTM(3, 4), torch.randn(5, 2, 3)
    accelerate(model)
    model.share_memory()
    for method in ("fork", "spawn"):
        nn.init.ones_(model.bias_ih_l0)
        expected = step(model, x)
        context = multiprocessing.get_context(method)
        queue = context.SimpleQueue()
        process = context.Process(target=child, args=(model, x, queue))
        process.start()
        for ours, theirs in zip(queue.get(), expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(ours), theirs)
        process.join()
        assert process.exitcode == 0
        assert not model.bias_ih_l0.any()  # what the child did to the shared weights
        print(method)
    loaded = torch.utils.data.DataLoader(Rows(model, x), num_workers=1, batch_size=None)
    for row, ours in zip(x, loaded, strict=True):
        torch.testing.assert_close(ours, model(row)[0].detach())
    print("workers")


if __name__ == "__main__":
    main()
