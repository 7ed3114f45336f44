// Asks this container's own service whether it is ready: the api on API_PORT, the others on HEALTH_PORT.
const port = process.env.HEALTH_PORT || process.env.API_PORT || '4000';
try {
  const response = await fetch(`http://127.0.0.1:${port}/health/ready`, { signal: AbortSignal.timeout(4_000) });
  process.exit(response.ok ? 0 : 1);
} catch {
  process.exit(1);
}
