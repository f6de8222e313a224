"""When runs start by themselves: cron expressions, what is caught up after downtime, and who fires."""
