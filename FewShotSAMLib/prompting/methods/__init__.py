"""The prompt methods, one a file, behind `prompting.interfaces.PromptMethod`."""
