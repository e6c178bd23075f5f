/**
 * The pod of manifests/base on this machine: its volumes as the kubelet would make them, its containers
 * by podman, the git server, the model and the tarball of the CLI by stand-ins on loopback.
 * `fsGroup` is imitated: each volume belongs to root:1000 and has the setgid bit, and a Secret is links
 * to files of a directory beside them.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import type { Test } from 'tap';
import { stringify } from 'yaml';
import {
  type Manifest,
  type PodSpec,
  parseManifests,
  podOf,
  runArguments,
  type Secrets,
  type VolumeToMake,
  volumesOf,
} from '../../scripts/containers/pod.ts';
import { makeToken, tokenLine } from '../../supervisor/http/tokens.ts';
import { startGitServer } from '../support/git-server.ts';
import { type MessagesApi, startMessagesApi } from '../support/messages-api.ts';
import { createRepository, type Repository } from '../support/repository.ts';
import { until } from '../support/until.ts';
import { type Ended, images, podman, podmanOk } from './podman.ts';

const manifests = join(import.meta.dirname, '../../manifests');
export const gitToken = 'a-git-token-of-the-tests';
let serial = 0;

export interface Line {
  level: string;
  event: string;
  msg: string;
  [field: string]: unknown;
}

/** What is outside the pod, and the volume that outlives it. */
export class Surroundings {
  readonly directory: string;
  readonly model: MessagesApi;
  readonly token = makeToken();
  readonly settings: Record<string, string>;
  readonly secrets: Secrets;
  readonly manifests: Manifest[];
  readonly repository: Repository;

  private constructor(
    directory: string,
    model: MessagesApi,
    repository: Repository,
    url: string,
    components: readonly string[],
  ) {
    this.directory = directory;
    this.model = model;
    this.repository = repository;
    this.settings = { BERTH_REPO: url, ANTHROPIC_BASE_URL: model.url };
    this.secrets = {
      'berth-git': { token: gitToken },
      'berth-api-tokens': { tests: tokenLine('tests', this.token) },
      'berth-login': { ANTHROPIC_API_KEY: 'sk-ant-made-up-0123456789' },
    };
    const overlay = join(directory, 'overlay');
    mkdirSync(overlay);
    const from = (path: string): string => relative(overlay, join(manifests, path));
    const parts = { resources: [from('base')], components: components.map(from) };
    writeFileSync(join(overlay, 'kustomization.yaml'), stringify(parts));
    const text = execFileSync('kubectl', ['kustomize', overlay], { encoding: 'utf8' });
    this.manifests = parseManifests(text);
  }

  /** @param components paths below manifests/ */
  static async open(t: Test, components: readonly string[] = []): Promise<Surroundings> {
    // Not in the checkout: uid 1000 must be able to come this far.
    const directory = mkdtempSync('/var/tmp/berth-pod-');
    chmodSync(directory, 0o755);
    const root = join(directory, 'git');
    const repository = createRepository(root, 'me/dot-claude', {
      'CLAUDE.md': 'Answer in plain words.\n',
      'settings.json': JSON.stringify({ permissions: { allow: ['Bash'] } }),
    });
    const [git, model] = await Promise.all([
      startGitServer({ root, token: gitToken }),
      startMessagesApi(),
    ]);
    t.teardown(async () => {
      await Promise.all([git.close(), model.close()]);
      rmSync(directory, { recursive: true, force: true });
    });
    const url = git.repositoryUrl('me/dot-claude');
    const made = new Surroundings(directory, model, repository, url, components);
    made.claim('berth', 0o2775, 1000);
    return made;
  }

  /** A claim as its driver gives it to the kubelet, with what every file system of its own has. */
  claim(name: string, mode: number, group: number): string {
    const path = join(this.directory, `claim-${name}`);
    rmSync(path, { recursive: true, force: true });
    makeDirectory(path, mode, group);
    mkdirSync(join(path, 'lost+found'), { mode: 0o700 });
    return path;
  }

  /** A pod of its own on the claim. */
  pod(t: Test, options: PodOptions = {}): Pod {
    const pod = new Pod(this, options);
    t.teardown(() => pod.remove());
    return pod;
  }
}

export interface PodOptions {
  settings?: Record<string, string>;
  secrets?: Secrets;
  patch?: (pod: PodSpec) => void;
  /** In the place of the one without the CLI. */
  runtimeImage?: string;
}

export class Pod {
  readonly url: string;
  readonly metricsUrl: string;
  readonly #name = `berth-${process.pid}-${++serial}`;
  readonly #directory: string;
  readonly #surroundings: Surroundings;
  readonly #options: PodOptions;
  readonly #secrets: Secrets;
  readonly #shared: string[] = [];

  constructor(surroundings: Surroundings, options: PodOptions) {
    this.#surroundings = surroundings;
    this.#options = options;
    this.#secrets = { ...surroundings.secrets, ...options.secrets };
    this.#directory = join(surroundings.directory, this.#name);
    mkdirSync(this.#directory);
    writeFileSync(join(this.#directory, 'termination-log'), '');
    chmodSync(join(this.#directory, 'termination-log'), 0o666);
    // Below those that the system gives away.
    const port = 10_000 + (process.pid % 1_000) * 20 + serial * 2;
    this.url = `http://127.0.0.1:${port}`;
    this.metricsUrl = `http://127.0.0.1:${port + 1}`;
    for (const volume of volumesOf(podOf(surroundings.manifests), this.#secrets)) {
      this.#make(volume);
    }
  }

  #make(volume: VolumeToMake): void {
    const path = join(this.#directory, volume.name);
    if (volume.kind === 'claim') {
      symlinkSync(join(this.#surroundings.directory, `claim-${volume.claim}`), path);
      return;
    }
    makeDirectory(path, 0o2777, 1000);
    if (volume.kind === 'empty') return;
    const data = join(path, '..2026_01_01');
    makeDirectory(data, 0o2755, 1000);
    symlinkSync('..2026_01_01', join(path, '..data'));
    for (const [name, content] of Object.entries(volume.files)) {
      writeFileSync(join(data, name), content);
      chmodSync(join(data, name), volume.mode);
      chownSync(join(data, name), 0, 1000);
      symlinkSync(join('..data', name), join(path, name));
    }
  }

  #arguments(container: 'init' | 'runtime', settings: Record<string, string>): string[] {
    const { manifests, settings: common } = this.#surroundings;
    const { runtimeImage = images.runtime, patch } = this.#options;
    return runArguments({
      manifests,
      container,
      name: `${this.#name}-${container}`,
      directory: this.#directory,
      secrets: this.#secrets,
      image: container === 'init' ? images.init : runtimeImage,
      settings: { ...common, ...this.#options.settings, ...settings },
      ...(patch ? { patch } : {}),
    });
  }

  /** Runs the init container to its end. */
  async init(settings: Record<string, string> = {}): Promise<Ended & { lines: Line[] }> {
    const ended = await podman('run', '--rm', ...this.#arguments('init', settings));
    return { ...ended, lines: linesOf(ended.stdout) };
  }

  /** Starts the init container, which stays; returns when it answers /readyz. @param listen of sync */
  async stay(listen: string, settings: Record<string, string>): Promise<void> {
    const given = this.#arguments('init', { BERTH_SYNC_LISTEN: listen, ...settings });
    await podmanOk('run', '--detach', '--ipc=shareable', ...given);
    // The containers of a pod share their IPC namespace.
    this.#shared.push(`--ipc=container:${this.#name}-init`);
    await until('init has prepared the volume', () =>
      fetch(`http://${listen}/readyz`).then(
        ({ ok }) => ok,
        () => false,
      ),
    );
  }

  /** Starts the runtime container; returns when it answers /livez. */
  async start(settings: Record<string, string> = {}): Promise<void> {
    const listen = {
      BERTH_HTTP_LISTEN: this.url.slice('http://'.length),
      BERTH_METRICS_LISTEN: this.metricsUrl.slice('http://'.length),
    };
    const given = this.#arguments('runtime', { ...listen, ...settings });
    await podmanOk('run', '--detach', ...this.#shared, ...given);
    await this.answers('livez');
  }

  /** As the kubelet does with a container that ended: in the same pod, with its volumes. */
  async restart(): Promise<void> {
    await podmanOk('start', this.#runtime);
    await this.answers('readyz');
  }

  async answers(probe: 'livez' | 'readyz', deadline = 240_000): Promise<void> {
    await until(
      `${probe} of the runtime`,
      async () => {
        if (await this.probe(probe)) return true;
        if (!(await this.isRunning())) throw new Error(`it ended: ${await this.output()}`);
        return false;
      },
      deadline,
    );
  }

  probe(probe: 'livez' | 'readyz'): Promise<boolean> {
    return fetch(`${this.metricsUrl}/${probe}`).then(
      ({ ok }) => ok,
      () => false,
    );
  }

  async isRunning(): Promise<boolean> {
    return (await this.#inspect('{{.State.Running}}')) === 'true';
  }

  async exitCode(): Promise<number> {
    return Number(await podmanOk('wait', this.#runtime));
  }

  get #runtime(): string {
    return `${this.#name}-runtime`;
  }

  #inspect(format: string): Promise<string> {
    return podmanOk('inspect', '--format', format, this.#runtime);
  }

  /** Stops it as the kubelet does. @returns its exit code */
  async stop(): Promise<number> {
    const seconds = podOf(this.#surroundings.manifests).terminationGracePeriodSeconds ?? 30;
    await podmanOk('stop', '--time', String(seconds), this.#runtime);
    return Number(await this.#inspect('{{.State.ExitCode}}'));
  }

  async remove(): Promise<void> {
    // One after the other: the runtime container uses the IPC namespace of an init that stays.
    for (const name of [this.#runtime, `${this.#name}-init`]) {
      await podmanOk('rm', '--force', '--time', '0', '--ignore', name);
    }
  }

  output(): Promise<string> {
    return podman('logs', this.#runtime).then(({ stdout, stderr }) => stdout + stderr);
  }

  async lines(event?: string): Promise<Line[]> {
    const lines = linesOf(await this.output());
    return event === undefined ? lines : lines.filter((line) => line.event === event);
  }

  terminationMessage(): string {
    return readFileSync(join(this.#directory, 'termination-log'), 'utf8');
  }

  /** Runs a command in the runtime container, such as `berth doctor`. */
  exec(...command: string[]): Promise<Ended> {
    return podman('exec', this.#runtime, ...command);
  }

  /** Every process of the runtime container. */
  async processes(): Promise<Process[]> {
    const format = 'hpid,pid,state,args';
    const table = await podmanOk('top', this.#runtime, format);
    return table
      .split('\n')
      .slice(1)
      .map((row) => {
        const [hostPid, pid, state = '', ...command] = row.trim().split(/\s+/);
        return { hostPid: Number(hostPid), pid: Number(pid), state, command: command.join(' ') };
      });
  }

  /** Processes that the kernel has ended for their memory. */
  async kernelKills(): Promise<number> {
    const pid = await this.#inspect('{{.State.Pid}}');
    const cgroups = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
    const first = /^\d+:memory:(.*)$/m.exec(cgroups)?.[1];
    const file = first
      ? `/sys/fs/cgroup/memory${first}/memory.oom_control`
      : `/sys/fs/cgroup${/^0::(.*)$/m.exec(cgroups)?.[1]}/memory.events`;
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync(file, 'utf8'))?.[1]);
  }

  /** @returns the answer's status and body */
  async call(method: string, path: string, body?: unknown) {
    const response = await fetch(this.url + path, {
      method,
      headers: {
        authorization: `Bearer ${this.#surroundings.token}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      body: body ? JSON.stringify(body) : null,
    });
    const text = await response.text();
    // biome-ignore lint/suspicious/noExplicitAny: answers are matched, not computed with.
    return { status: response.status, body: (text ? JSON.parse(text) : undefined) as any };
  }

  prompt(text: string, rest: Record<string, unknown> = {}) {
    return this.call('POST', '/v1/prompts', { prompt: text, ...rest });
  }
}

export interface Process {
  hostPid: number;
  pid: number;
  state: string;
  command: string;
}

function linesOf(output: string): Line[] {
  return output
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line));
}

function makeDirectory(path: string, mode: number, group: number): void {
  if (!existsSync(path)) mkdirSync(path);
  chownSync(path, 0, group);
  chmodSync(path, mode);
}
