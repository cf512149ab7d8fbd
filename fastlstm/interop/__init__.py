"""The borders to PyTorch, Keras and ONNX: layouts are converted here and nowhere else.

`torch` is a drop-in for `torch.nn.LSTM`; `weights`, `onnx` and `keras` let weights travel.
"""
