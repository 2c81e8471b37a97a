"""Compares contrastive losses, and what a Poisson flow adds to their features.

    python benchmarks/contrastive.py
    python benchmarks/contrastive.py --components 8 --losses l2 infonce --flows
    python benchmarks/contrastive.py --data cifar-10
    python benchmarks/contrastive.py --time

An encoder is trained without labels on augmented images, and classifiers on its
features of the images as they are: the closing proposal of the uniformity document. All
losses have the same network, views, batches and number of epochs. Peers are pixels, PCA
of the same width, the network as it starts, and the same network trained with labels.
"""

import warnings
from functools import cache, partial

import _runs
import _uniform
import numpy as np
import pandas as pd
import torch
from _augmented import SmallNetwork, augment, augmented_views
from _data import load_images
from _networks import pixels
from _probes import few_labels, scaled
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import QuantileTransformer
from torch import nn
from torch.nn.functional import normalize

from sklearn_featalign import ContrastiveEncoder
from sklearn_featalign.metrics import alignment_loss, uniformity_loss

PUBLISHED = {"lambda_": 1.0, "margin": None, "normalize": False}
LOSSES = {
    "l2": {},
    "l2 as published": PUBLISHED,
    "l2, unit length": PUBLISHED | {"normalize": True},
    "alignment and uniformity": {"loss": "alignment_uniformity"},
    "InfoNCE": {"loss": "infonce"},
}
C_GRID = (0.1, 1.0, 10.0)
N_NEIGHBORS = 10
N_LABELS, N_DRAWS = 5, 10
# Up to so many dimensions rows flow along the exact field.
MOST_DIMENSIONS = 8
BATCH_SIZE, LR = 256, 1e-3


@cache
def load(data, n_train, n_test):
    """Return images as tensors with channels and labels, of training and of test."""
    parts = []
    for (images, y), n in zip(load_images(data), (n_train, n_test), strict=True):
        images = torch.as_tensor(images[:n], dtype=torch.float32)
        images = images[:, None] if images.ndim == 3 else images
        parts.append((images, y[:n]))
    return parts


def network_of(images):
    """Return the factory of networks for images."""
    return partial(SmallNetwork, n_channels=images.shape[1])


def encode(images, seed, loss, n_components, epochs):
    """Return a function from rows to features, trained without labels."""
    views = augmented_views(images, seed)
    width = images[0].numel()
    encoder = ContrastiveEncoder(
        n_components,
        views=[width] * (views.shape[1] // width),
        encoder=network_of(images),
        max_epochs=epochs,
        batch_size=BATCH_SIZE,
        lr=LR,
        random_state=seed,
        **LOSSES[loss],
    ).fit(views)
    return lambda X: encoder.transform_view(X, 0)


def start_network(images, n_components, seed):
    """Return a network in the state that training starts from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network_of(images)(images[0].numel(), n_components)


def features_by(network):
    """Return the function from rows to the features of a network."""
    network.eval()
    return lambda X: network(torch.as_tensor(X)).detach().numpy()


def train_with_labels(images, y, seed, n_components, epochs):
    """Return a function from rows to the features of a network trained with labels."""
    body = start_network(images, n_components, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(n_components, int(y.max()) + 1)
    generator = torch.Generator().manual_seed(seed)
    weights = [*body.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, LR, weight_decay=1e-4)
    labels = torch.as_tensor(y)
    for _ in range(epochs):
        for rows in torch.randperm(len(y), generator=generator).split(BATCH_SIZE):
            batch = augment(images[rows], generator).flatten(1)
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(body(batch)), labels[rows]).backward()
            optimizer.step()
    return features_by(body)


def train_bare(views, n_views, factory, n_components, epochs):
    """Train on the loss of the default in a loop of torch alone."""
    rows = torch.as_tensor(views).view(len(views), n_views, -1)
    width = rows.shape[2]
    flat = rows.view(-1, width)
    rows = ((flat - flat.mean(0)) / flat.var(0).mean().sqrt()).view_as(rows)
    network = factory(width, n_components)
    optimizer = torch.optim.AdamW(network.parameters(), LR, fused=True)
    for _ in range(epochs):
        for batch in torch.randperm(len(rows)).split(BATCH_SIZE):
            order = torch.rand(len(batch), n_views).topk(2).indices
            pairs = rows[batch[:, None], order]
            Z = normalize(network(torch.cat([pairs[:, 0], pairs[:, 1]])))
            F, G = Z.chunk(2)
            squares = (2 - 2 * F @ G.T).clamp(1e-9, 1)
            apart = squares.sqrt().sum() - squares.diagonal().sqrt().sum()
            n = len(F)
            loss = (F - G).square().sum(1).mean() - 3 * apart / (n * (n - 1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()


def time_training(args, n_rounds=5, epochs=2):
    """Return the table of times of training, ours and of a loop of torch."""
    (images, _), _ = load(args.data, args.n_train, 1)
    views, width = augmented_views(images, 0), images[0].numel()
    n_views = views.shape[1] // width
    encoder = ContrastiveEncoder(
        views=[width] * n_views,
        encoder=network_of(images),
        max_epochs=epochs,
        random_state=0,
    )
    functions = {
        "bare loop": partial(
            train_bare, views, n_views, network_of(images), encoder.n_components, epochs
        ),
        "ContrastiveEncoder": partial(encoder.fit, views),
    }
    asked = {"ContrastiveEncoder": "<= 1.2"}
    return _runs.compare_times(functions, n_rounds, "bare loop", asked)


def flows(n_components, n_rows, seed):
    """Return what features go through before a classifier, by name."""
    n_quantiles = min(1000, n_rows)
    found = {
        "PCA whitening": PCA(whiten=True),
        "quantiles": QuantileTransformer(
            n_quantiles=n_quantiles, output_distribution="normal"
        ),
        "published flow": _uniform.published_flow(random_state=seed),
    }
    if n_components <= MOST_DIMENSIONS:
        found["exact flow"] = _uniform.exact_flow()
    return found


def probe(F, y, F_test, y_test):
    """Return accuracies of classifiers on features, divided by one number."""
    F, F_test = scaled(F, F_test)
    linear = LogisticRegression(max_iter=300)
    search = GridSearchCV(linear, {"C": C_GRID}, cv=3).fit(F, y)
    nearest = KNeighborsClassifier(N_NEIGHBORS).fit(F, y)
    few = []
    for draw in range(N_DRAWS):
        known = few_labels(y, N_LABELS, draw)
        few.append(linear.fit(F[known], y[known]).score(F_test, y_test))
    return {
        "linear": search.score(F_test, y_test),
        "neighbours": nearest.score(F_test, y_test),
        "few labels": np.mean(few),
    }


def measure(args, seed, n_components, method):
    """Return runs of a method, one for each flow."""
    (images, y), (test, y_test) = load(args.data, args.n_train, args.n_test)
    X, X_test = (pixels(part.numpy()) for part in (images, test))
    if method == "pixels":
        return [{"flow": "none"} | probe(X, y, X_test, y_test)]
    if method == "PCA":
        function = PCA(n_components, random_state=seed).fit(X).transform
    elif method == "untrained network":
        function = features_by(start_network(images, n_components, seed))
    elif method == "network with labels":
        function = train_with_labels(images, y, seed, n_components, args.epochs)
    else:
        function = encode(images, seed, method, n_components, args.epochs)
    F, F_test = function(X), function(X_test)
    pairs = np.split(augmented_views(test, seed + 1000, n_views=2), 2, axis=1)
    first, second = map(function, pairs)
    shared = {
        "alignment": alignment_loss(first, second),
        "uniformity": uniformity_loss(first),
    }
    runs = [{"flow": "none"} | shared | probe(F, y, F_test, y_test)]
    if args.flows and method in LOSSES:
        for name, flow in flows(n_components, len(F), seed).items():
            moved = flow.fit(F).transform(F), flow.transform(F_test)
            runs.append({"flow": name} | probe(moved[0], y, moved[1], y_test))
    return runs


def summarize(runs):
    """Return a row for each width, method and flow, with differences by seed."""
    frame = pd.DataFrame(runs)
    key = ["seed", "n_components"]
    none = frame[frame["flow"] == "none"]
    for name, rows, also in (
        ("linear minus PCA", none[none["method"] == "PCA"], []),
        ("linear minus no flow", none, ["method"]),
    ):
        base = rows.set_index(key + also)["linear"]
        index = pd.MultiIndex.from_frame(frame[key + also])
        frame[name] = frame["linear"].to_numpy() - base.reindex(index).to_numpy()
    texts = dict.fromkeys(
        (
            "linear",
            "linear minus PCA",
            "linear minus no flow",
            "neighbours",
            "few labels",
        ),
        _runs.percent,
    )
    texts |= dict.fromkeys(("alignment", "uniformity"), _runs.spread)
    return _runs.table(frame, ["n_components", "method", "flow"], texts)


def parse_arguments():
    """Return the command line's arguments."""
    parser = _runs.make_parser(__doc__, seeds=3)
    parser.add_argument(
        "--data", choices=("fashion-mnist", "cifar-10"), default="fashion-mnist"
    )
    parser.add_argument("--components", type=int, nargs="+", default=[4, 8, 32, 128])
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--flows", action="store_true", help="flows after each encoder")
    parser.add_argument("--time", action="store_true", help="only time the training")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--n-train", type=int, default=10000)
    parser.add_argument("--n-test", type=int, default=4000)
    return parser.parse_args()


def main():
    """Compare and print the table."""
    args = parse_arguments()
    if args.time:
        _runs.print_table("Two epochs of training", time_training(args))
        return
    warnings.filterwarnings("ignore", "lbfgs failed to converge")
    warnings.filterwarnings("ignore", "Rows flow in")
    peers = ["pixels", "PCA", "untrained network", "network with labels"]
    settings = _runs.grid(
        n_components=args.components,
        method=[*peers, *args.losses],
        seed=list(range(args.seeds)),
    )
    runs = _runs.run(settings, partial(measure, args), "methods")
    _runs.write_json(args.json, runs=runs)
    title = f"Features of {args.data} without labels: accuracy in %"
    _runs.print_table(title, summarize(runs))


if __name__ == "__main__":
    main()
