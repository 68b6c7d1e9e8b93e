"""Files and packages: adapters, image encoders, face models, found and loaded."""
