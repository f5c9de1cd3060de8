"""From the name in a recipe to a tf.distribute.Strategy."""

import tensorflow as tf

from trainers.errors import UserError


def make_strategy(name, cpu_replicas=1):
    """Builds a strategy; call before anything else touches TensorFlow's devices.

    Args:
      name: "one_device" or "mirrored" (all GPUs, or else the logical CPUs).
      cpu_replicas: into how many logical devices the CPU is split.

    Raises:
      UserError: unknown name, or TensorFlow has been started with other devices.
    """
    if cpu_replicas > 1:
        split_cpu(cpu_replicas)
    if name == "one_device":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    raise UserError(f"STRATEGY: {name!r} is none of 'one_device', 'mirrored'")


def split_cpu(parts):
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(parts)]
        )
    except RuntimeError as error:  # already started: fine if it was started like this
        if len(tf.config.list_logical_devices("CPU")) != parts:
            raise UserError(f"CPU_REPLICAS: {error}") from error
