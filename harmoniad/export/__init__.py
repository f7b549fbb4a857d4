"""Export: a trained model as one ONNX or OpenVINO graph, from the image to its score and map."""
