"""What a trained model is worth: metrics, a baseline, pictures."""
