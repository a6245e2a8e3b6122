"""An OpenAI-compatible server over the step scheduler: `janusflow serve`."""
