"""Networks: parameters drawn from a key, and the function they represent."""

from mfsim.networks.base import AbstractNetwork as AbstractNetwork
from mfsim.networks.deep_relu import DeepRelu as DeepRelu
from mfsim.networks.two_layer import Neurons as Neurons
from mfsim.networks.two_layer import TwoLayer as TwoLayer
