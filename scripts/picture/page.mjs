/**
 * The page of the picture: draws the dashboard's JSON and the answers of Prometheus with Grafana's
 * own components (@grafana/ui). Owns what Grafana's panels add to these components: the position of
 * each panel, the conversion of a series to a field, and the override of a field. main.ts bundles
 * the page in the folder of these packages.
 */
import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import {
  createTheme,
  dateTime,
  FieldType,
  getDisplayProcessor,
  getFieldDisplayValues,
  MutableDataFrame,
  ThemeContext,
} from '@grafana/data';
import {
  BigValue,
  BigValueColorMode,
  BigValueGraphMode,
  BigValueTextMode,
  GlobalStyles,
  PanelChrome,
  TimeSeries,
  VizRepeater,
} from '@grafana/ui';
import { createElement as h } from 'react';
import { createRoot } from 'react-dom/client';

const { dashboard, results, from, to } = window.picture;
const theme = createTheme({ colors: { mode: 'dark' } });
const timeZone = 'utc';
const timeRange = {
  from: dateTime(from * 1000),
  to: dateTime(to * 1000),
  raw: { from: dateTime(from * 1000), to: dateTime(to * 1000) },
};

/** Grafana's grid. */
const columns = 24;
const unit = 30;
const gap = 8;
const width = 1600;
const margin = 16;
const columnWidth = (width - 2 * margin + gap) / columns;

const custom = {
  drawStyle: 'line',
  lineInterpolation: 'linear',
  lineWidth: 1,
  fillOpacity: 0,
  gradientMode: 'none',
  spanNulls: false,
  showPoints: 'auto',
  pointSize: 5,
  barAlignment: 0,
  barWidthFactor: 0.6,
  axisPlacement: 'auto',
  axisBorderShow: false,
  scaleDistribution: { type: 'linear' },
  stacking: { mode: 'none', group: 'A' },
  thresholdsStyle: { mode: 'off' },
  hideFrom: { viz: false, tooltip: false, legend: false },
};

function framesOf(panel) {
  const { defaults = {}, overrides = [] } = panel.fieldConfig ?? {};
  let index = 0;
  return results[panel.id].flatMap(({ refId, series }) =>
    series.map(({ legend, values }) => {
      const config = {
        min: defaults.min,
        max: defaults.max,
        unit: defaults.unit,
        decimals: defaults.decimals,
        mappings: defaults.mappings ?? [],
        thresholds: defaults.thresholds ?? {
          mode: 'absolute',
          steps: [{ value: -Infinity, color: 'green' }],
        },
        color: defaults.color ?? { mode: panel.type === 'stat' ? 'thresholds' : 'palette-classic' },
        custom: { ...custom, ...defaults.custom },
        displayNameFromDS: legend,
      };
      config.thresholds.steps[0].value = Number.NEGATIVE_INFINITY;
      for (const { matcher, properties } of overrides) {
        if (matcher.options !== legend) continue;
        for (const { id, value } of properties) {
          if (id.startsWith('custom.')) config.custom[id.slice('custom.'.length)] = value;
          else config[id] = value;
        }
      }
      const frame = new MutableDataFrame({
        refId,
        name: legend,
        fields: [
          {
            name: 'Time',
            type: FieldType.time,
            config: {},
            values: values.map(([time]) => time * 1000),
          },
          {
            name: 'Value',
            type: FieldType.number,
            config,
            values: values.map(([, value]) => value),
          },
        ],
      });
      const [time, field] = frame.fields;
      time.display = getDisplayProcessor({ field: time, theme, timeZone });
      field.state = { seriesIndex: index++, displayName: legend };
      field.display = getDisplayProcessor({ field, theme, timeZone });
      return frame;
    }),
  );
}

const empty = h('div', { className: 'empty' }, 'No data');

function stat(panel, frames, size) {
  const { textMode, colorMode, reduceOptions } = panel.options;
  const values = getFieldDisplayValues({
    fieldConfig: { defaults: {}, overrides: [] },
    reduceOptions: { ...reduceOptions, values: false },
    data: frames,
    theme,
    timeZone,
    replaceVariables: (text) => text,
  }).filter(({ display }) => !Number.isNaN(display.numeric));
  if (values.length === 0) return empty;
  return h(VizRepeater, {
    ...size,
    getValues: () => values,
    source: values,
    renderCounter: 0,
    orientation: 'auto',
    autoGrid: true,
    renderValue: ({ value, width, height, count }) =>
      h(BigValue, {
        value: value.display,
        count,
        width,
        height,
        theme,
        graphMode: BigValueGraphMode.None,
        colorMode: colorMode ?? BigValueColorMode.Value,
        justifyMode: 'auto',
        textMode: textMode ?? BigValueTextMode.Auto,
        wideLayout: true,
      }),
  });
}

function curves(frames, size) {
  if (frames.length === 0) return empty;
  const legend = { showLegend: true, displayMode: 'list', placement: 'bottom', calcs: [] };
  return h(TimeSeries, { ...size, frames, timeRange, timeZone, legend, structureRev: 1 });
}

function drawn(panel) {
  const { x, y, w, h: high } = panel.gridPos;
  const style = {
    position: 'absolute',
    left: margin + x * columnWidth,
    top: margin + y * (unit + gap),
    width: w * columnWidth - gap,
    height: high * (unit + gap) - gap,
  };
  const key = panel.id;
  if (panel.type === 'row') return h('div', { key, className: 'row', style }, `⌄ ${panel.title}`);
  const frames = framesOf(panel);
  return h(
    'div',
    { key, style },
    h(
      PanelChrome,
      { title: panel.title, width: style.width, height: style.height },
      (width, height) =>
        panel.type === 'stat'
          ? stat(panel, frames, { width, height })
          : curves(frames, { width, height }),
    ),
  );
}

const bottom = Math.max(...dashboard.panels.map(({ gridPos: { y, h } }) => y + h));
const style = document.createElement('style');
style.textContent = `
  body { margin: 0; background: ${theme.colors.background.canvas}; overflow: hidden }
  .row { color: ${theme.colors.text.primary}; font: 500 16px Inter, sans-serif; line-height: 34px }
  .empty { color: ${theme.colors.text.secondary}; height: 100%; display: flex;
    align-items: center; justify-content: center }
`;
document.head.append(style);
const place = document.createElement('div');
document.body.append(place);
createRoot(place).render(
  h(
    ThemeContext.Provider,
    { value: theme },
    h(GlobalStyles),
    h(
      'div',
      { style: { position: 'relative', width, height: bottom * (unit + gap) + 2 * margin } },
      dashboard.panels.map(drawn),
    ),
  ),
);
