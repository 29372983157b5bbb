"""The accuracies that others published for these networks, each with its source.

One view of each image: on ImageNet-1K the center crop of 224 pixels of its validation images, on CIFAR-10 the whole
test image. Results of ten crops, of several scales or of an ensemble are higher and would not compare, so a network
that has only those has no row. Networks of CIFAR-10 were trained with shifted and mirrored images.
"""

from __future__ import annotations

from typing import NamedTuple

IMAGENET, CIFAR10 = "ImageNet-1K", "CIFAR-10"

_TORCHVISION = "torchvision, weights IMAGENET1K_V1"
_RESNET_MODELS = "the authors' models, github.com/KaimingHe/deep-residual-networks"
_RESNET = "arXiv:1512.03385, Table 6"
_DENSENET = "arXiv:1608.06993, Table 2"


class Published(NamedTuple):
    """An accuracy that was published.

    top1     share of right answers, in 0..1
    data     the test images: "ImageNet-1K" or "CIFAR-10"
    source   where it was published
    """

    top1: float
    data: str
    source: str


PUBLISHED: dict[str, Published] = {
    "alexnet_2012": Published(0.571, IMAGENET, "Caffe's bvlc_alexnet, a replication"),
    "alexnet_owt": Published(0.56522, IMAGENET, _TORCHVISION),
    "vgg11": Published(0.6902, IMAGENET, _TORCHVISION),
    "vgg13": Published(0.69928, IMAGENET, _TORCHVISION),
    "vgg16": Published(0.71592, IMAGENET, _TORCHVISION),
    "vgg19": Published(0.72376, IMAGENET, _TORCHVISION),
    "vgg11_bn": Published(0.7037, IMAGENET, _TORCHVISION),
    "vgg13_bn": Published(0.71586, IMAGENET, _TORCHVISION),
    "vgg16_bn": Published(0.7336, IMAGENET, _TORCHVISION),
    "vgg19_bn": Published(0.74218, IMAGENET, _TORCHVISION),
    "nin": Published(0.5936, IMAGENET, "the authors' model, gist.github.com/mavenlin/d802a5849de39225bcc6"),
    "nin_cifar": Published(0.9119, CIFAR10, "arXiv:1312.4400, Table 1"),
    "googlenet": Published(0.687, IMAGENET, "Caffe's bvlc_googlenet, a replication"),
    "googlenet_bn": Published(0.69778, IMAGENET, _TORCHVISION),
    "resnet18": Published(0.69758, IMAGENET, _TORCHVISION),
    "resnet34": Published(0.73314, IMAGENET, _TORCHVISION),
    "resnet50": Published(0.7613, IMAGENET, _TORCHVISION),
    "resnet101": Published(0.77374, IMAGENET, _TORCHVISION),
    "resnet152": Published(0.78312, IMAGENET, _TORCHVISION),
    "resnet50_v1": Published(0.753, IMAGENET, _RESNET_MODELS),
    "resnet101_v1": Published(0.764, IMAGENET, _RESNET_MODELS),
    "resnet152_v1": Published(0.77, IMAGENET, _RESNET_MODELS),
    "resnet20_cifar": Published(0.9125, CIFAR10, _RESNET),
    "resnet32_cifar": Published(0.9249, CIFAR10, _RESNET),
    "resnet44_cifar": Published(0.9283, CIFAR10, _RESNET),
    "resnet56_cifar": Published(0.9303, CIFAR10, _RESNET),
    "resnet110_cifar": Published(0.9357, CIFAR10, f"{_RESNET}, the best of 5 runs"),
    "resnet1202_cifar": Published(0.9207, CIFAR10, _RESNET),
    "preact_resnet164_cifar": Published(0.9454, CIFAR10, "arXiv:1603.05027"),
    "preact_resnet1001_cifar": Published(0.9508, CIFAR10, "arXiv:1603.05027"),
    "densenet121": Published(0.74434, IMAGENET, _TORCHVISION),
    "densenet169": Published(0.756, IMAGENET, _TORCHVISION),
    "densenet201": Published(0.76896, IMAGENET, _TORCHVISION),
    "densenet161": Published(0.77138, IMAGENET, _TORCHVISION),
    "densenet264": Published(0.7785, IMAGENET, "arXiv:1608.06993, Table 3"),
    "densenet40_k12_cifar": Published(0.9476, CIFAR10, _DENSENET),
    "densenet_bc100_k12_cifar": Published(0.9549, CIFAR10, _DENSENET),
    "densenet_bc250_k24_cifar": Published(0.9638, CIFAR10, _DENSENET),
    "densenet_bc190_k40_cifar": Published(0.9654, CIFAR10, _DENSENET),
}
"""Accuracies by the name of the model."""
