"""What every measurement goes through: tasks, the runner, scores and reports."""
