"""Files as torch.save and safetensors write them, and what they hold; models in evaluation mode."""

import io
from collections import OrderedDict

import safetensors.torch
import torch
from torch import nn

from references.record import Arrays, named


def arrays() -> Arrays:
    """Return what the files hold, and inputs and outputs of the models in them."""
    return {
        **named("kinds", **{name: widened(t) for name, t in kinds().items()}),
        **of_model("images", images(), torch.randn(2, 3, 8, 8).double()),
        **of_model("text", text(), torch.randint(0, 7, (4, 2))),
    }


def files() -> dict[str, bytes]:
    """Return the content of each file by its name."""
    contents = {"kinds": kinds(), "images": checkpoint(images()), "text": text().state_dict()}
    result = {}
    for name, content in contents.items():
        result[f"{name}-zip.pt"] = saved(content)
        result[f"{name}-old.pt"] = saved(content, _use_new_zipfile_serialization=False)
    plain = {name: t.detach().clone().contiguous() for name, t in kinds().items()}
    return {**result, "kinds.safetensors": safetensors.torch.save(plain)}


def saved(content: object, **options: bool) -> bytes:
    """Return what torch.save writes."""
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """Return bfloat16, which NumPy lacks, as float32."""
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def kinds() -> dict[str, torch.Tensor]:
    """Return tensors of each dtype, views of one storage, an empty one, a scalar."""
    x = torch.linspace(-3, 3, 12, dtype=torch.float64).reshape(3, 4)
    dtypes = {
        "float64": torch.float64, "float32": torch.float32, "float16": torch.float16,
        "bfloat16": torch.bfloat16, "int64": torch.int64, "int32": torch.int32,
        "int16": torch.int16, "int8": torch.int8, "uint8": torch.uint8, "bool": torch.bool,
    }  # fmt: skip
    result = {name: (x + 3 if name == "uint8" else x).to(dtype) for name, dtype in dtypes.items()}
    part = result["float32"].t()[1:, ::2]
    return result | {
        "view": part, "parameter": nn.Parameter(part.contiguous()),
        "empty": torch.zeros(0, 3), "scalar": torch.tensor(2.5),
    }  # fmt: skip


class Images(nn.Module):
    """A convolution, a norm that has seen a batch, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.fc(torch.relu(self.bn(self.conv(x))).flatten(1))


class Text(nn.Module):
    """An embedding, two layers of LSTM, one of RNN, a norm, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 5)
        self.lstm = nn.LSTM(5, 6, 2)
        self.rnn = nn.RNN(6, 4)
        self.norm = nn.LayerNorm(4)
        self.fc = nn.Linear(4, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.fc(self.norm(self.rnn(self.lstm(self.embedding(x))[0])[0]))


def images() -> nn.Module:
    """Return a model of images, as DataParallel names its parts."""
    torch.manual_seed(0)
    model = Images().double()
    model(torch.randn(4, 3, 8, 8).double())
    return nn.ModuleDict({"module": model}).eval()


def text() -> nn.Module:
    """Return a model of text; its norm's weights are not all ones."""
    torch.manual_seed(1)
    model = Text().double().eval()
    nn.init.normal_(model.norm.weight)
    nn.init.normal_(model.norm.bias)
    return model


def checkpoint(model: nn.Module) -> dict[str, object]:
    """Return a dictionary as training scripts save it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    state = OrderedDict(model.state_dict())
    return {"epoch": 3, "name": "é", "state_dict": state, "optimizer": optimizer.state_dict()}


def of_model(case: str, model: nn.Module, x: torch.Tensor) -> Arrays:
    """Return a model's weights, an input and its output."""
    run = model["module"] if isinstance(model, nn.ModuleDict) else model
    with torch.no_grad():
        return named(case, **model.state_dict()) | named(f"{case}-run", x=x, out=run(x))
