"""What breaks other receivers, done to this one and to Orthanc by the same sender, and told in one table."""
