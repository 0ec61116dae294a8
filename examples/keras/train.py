"""Train a small network with Keras and let TensorFlow Lite quantize it."""

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(1)
data = np.load("../fashion_mnist/calibration.npz")
images = data["x"].astype(np.float32) / 255

model = keras.Sequential([
    keras.Input((28, 28, 1)),
    keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="conv1"),
    keras.layers.DepthwiseConv2D(3, padding="same", activation="relu", name="conv2"),
    keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="conv3"),
    keras.layers.Flatten(),
    keras.layers.Dense(10, activation="softmax", name="classes"),
])
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(images, data["y"], batch_size=16, epochs=40)

converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([image[None]] for image in images)
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = tf.uint8
with open("fashion.tflite", "wb") as file:
    file.write(converter.convert())
