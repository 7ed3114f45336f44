-- One database each for read models, queues and secrets; the log lives in KurrentDB.
CREATE DATABASE picturelock_read;
CREATE DATABASE picturelock_jobs;
CREATE DATABASE picturelock_secrets;
