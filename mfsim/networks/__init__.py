"""Networks: parameters drawn from a key, and the function they represent."""

from mfsim.networks.base import AbstractNetwork as AbstractNetwork
from mfsim.networks.base import AbstractWeightNetwork as AbstractWeightNetwork
from mfsim.networks.deep_relu import DeepRelu as DeepRelu
from mfsim.networks.relu_classifier import ReluClassifier as ReluClassifier
from mfsim.networks.two_layer import Neurons as Neurons
from mfsim.networks.two_layer import TwoLayer as TwoLayer
